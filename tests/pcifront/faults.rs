//! Every call failing, once and for good, and answers at random.

use crate::world::{World, bdf, is_clean, nic};
use proptest::prelude::*;
use pvbounce::{
    arch::time::{Clock, Instant},
    pci::{
        Command, ConfigAccess, Function, Width,
        fake::Answers,
        front::{Front, Pending, Services, Timeouts},
    },
    xen::{
        events::{EventChannels, Pirq, Port, Sharing},
        fake::{FakeClock, FaultPlan, Faulty},
        grants::Grants,
        store::Store,
    },
};
use std::{rc::Rc, time::Duration};

/// Time that passes with each look at it, as it does when calls fail and nobody sleeps.
struct Ticking(Rc<FakeClock>);

impl Clock for Ticking {
    fn now(&self) -> Instant {
        self.0.advance(Duration::from_micros(100));
        self.0.now()
    }
}

/// What a guest does with its device; says how many ports it could not close.
fn work(front: &mut Front<'_>, world: &World, events: &dyn EventChannels) -> usize {
    let mut left = 0;
    if let Ok(Some(nic)) = Function::probe(front, bdf("00:00.0")) {
        let _ = nic.enable(Command::MEMORY);
        let _ = nic.bars();
        let pirq = front.enable_msi(nic.bdf());
        if let Ok(port) = pirq.map_err(drop).and_then(|pirq| interrupt(events, pirq)) {
            left += usize::from(events.close(port).is_err());
        }
    }
    // A change is told in nodes, and the other functions then have theirs.
    if world.backend.announces.get() {
        world.backend.bus.insert(bdf("00:01.0"), nic());
        world.backend.announce(1, bdf("00:01.0"), "1");
    }
    if let Ok(Pending::Change(_)) = front.pending() {
        let _ = front.apply_change();
    }
    left
}

fn interrupt(events: &dyn EventChannels, pirq: Pirq) -> Result<Port, ()> {
    let port = events.bind_pirq(pirq, Sharing::Shared).map_err(drop)?;
    let _ = events.eoi(pirq);
    events.take(port);
    Ok(port)
}

/// Connects, works and closes under that plan; says whether a call failed.
fn life_with_a_fault(plan: &FaultPlan, announces: bool) -> bool {
    let world = World::new();
    world.backend.announces.set(announces);
    let store = Faulty { inner: &world.store as &dyn Store, plan };
    let events = Faulty { inner: &*world.events as &dyn EventChannels, plan };
    let grants = Faulty { inner: &*world.grants as &dyn Grants, plan };
    let clock = Ticking(Rc::clone(&world.clock));
    let services = Services { store: &store, events: &events, grants: &grants, clock: &clock };
    let mut unclosed = 0;
    let report = match Front::connect(services, Timeouts::default(), world.page()) {
        Err(failed) => {
            assert!(plan.fired() && !failed.error.code().is_empty(), "{failed}");
            *failed.report
        }
        Ok(mut front) => {
            unclosed = work(&mut front, &world, &events);
            front.close()
        }
    };
    let grants = usize::from(report.still_granted.is_some());
    let ports = usize::from(report.port_left.is_some()) + unclosed;
    assert!(plan.fired() || is_clean(&report), "{report:?}");
    assert!(report.leaks_nothing() || report.problem.is_some() || !report.irqs_left.is_empty());
    let [open, granted, _, irqs] = world.taken();
    assert_eq!([open, granted, world.grants.owned()], [ports, grants, grants], "{report:?}");
    assert!(irqs <= report.irqs_left.len(), "{plan:?}: {report:?}");
    assert!(world.elapsed() < Duration::from_secs(60), "{:?}: {report:?}", world.elapsed());
    plan.fired()
}

/// Sweeps until a life without a fault: every call at every place has failed by then.
fn sweep(announces: bool, plan: impl Fn(u32) -> FaultPlan) -> usize {
    let calls = (0..).step_by(if cfg!(miri) { 37 } else { 1 });
    calls.take_while(|&calls| life_with_a_fault(&plan(calls), announces)).count()
}

#[test]
fn whichever_call_fails_nothing_is_leaked_unreported() {
    for (announces, least) in [(true, 100), (false, 500)] {
        let once = sweep(announces, FaultPlan::after);
        let for_good = sweep(announces, FaultPlan::for_good_after);
        assert_eq!(once, for_good, "both reach the end");
        assert!(cfg!(miri) || once > least, "only {once} calls");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
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
