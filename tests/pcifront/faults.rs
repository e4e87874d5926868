//! Every call failing once, and answers at random.

use crate::world::{World, bdf};
use proptest::prelude::*;
use pvbounce::{
    pci::{
        Command, ConfigAccess, Function, Width,
        fake::Answers,
        front::{Front, Services, Timeouts},
    },
    xen::{
        events::EventChannels,
        fake::{FaultPlan, Faulty},
        grants::Grants,
        store::Store,
    },
};

/// Connects, works and closes with the call after `calls` good ones failing; says whether one did.
fn life_with_a_fault(calls: u32, announces: bool) -> bool {
    let world = World::new();
    world.backend.announces.set(announces);
    let plan = FaultPlan::after(calls);
    let store = Faulty { inner: &world.store as &dyn Store, plan: &plan };
    let events = Faulty { inner: &*world.events as &dyn EventChannels, plan: &plan };
    let grants = Faulty { inner: &*world.grants as &dyn Grants, plan: &plan };
    let services =
        Services { store: &store, events: &events, grants: &grants, clock: &*world.clock };
    let report = match Front::connect(services, Timeouts::default(), world.page()) {
        Err(failed) => *failed.report,
        Ok(front) => {
            let nic = Function::probe(&front, bdf("00:00.0"));
            if let Ok(Some(nic)) = nic {
                let _ = nic.enable(Command::MEMORY);
                let _ = front.enable_msi(nic.bdf());
                let _ = nic.bars();
            }
            front.close()
        }
    };
    let grants = usize::from(report.still_granted.is_some());
    let irqs = report.irqs_left.len();
    let taken = world.taken();
    assert_eq!(taken[..3], [0, grants, 0], "fault {calls}: {report:?}");
    assert!(taken[3] <= irqs, "fault {calls}: {report:?}");
    assert_eq!(world.grants.owned(), grants, "fault {calls}");
    plan.fired()
}

#[test]
fn whichever_call_fails_nothing_is_leaked_unreported() {
    for (announces, least) in [(true, 90), (false, 500)] {
        let calls = (0..).take_while(|&calls| life_with_a_fault(calls, announces)).count();
        assert!(calls > least, "the sweep reached only {calls} calls");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_values_are_survived(value: u32, code: i32) {
        let world = World::new();
        let front = world.connect().unwrap();
        let nic = bdf("00:00.0");
        for answers in [Answers::Value(value), Answers::Error(code)] {
            world.backend.answers.set(answers);
            if let Ok(byte) = front.read(nic, 0, Width::U8) {
                prop_assert!(byte <= 0xff);
            }
            let function = Function::probe(&front, nic);
            if let Ok(Some(function)) = function {
                let _ = function.bars();
                let _ = function.msi();
                let _ = function.msix();
            }
            let _ = front.enable_msi(nic);
            let _ = front.enable_msix(nic, &[0, 1]);
        }
        world.backend.answers.set(Answers::Well);
        let report = front.close();
        prop_assert!(report.still_granted.is_none() && world.grants.owned() == 0);
        prop_assert_eq!(world.events.taken() + world.grants.taken() + world.tree.taken(), 0);
    }
}
