//! A device on a host that refuses some ways of interrupting, over a chip that sees only what was mapped for it.

use super::{super::faults::StuckMaster, *};
use crate::{
    device::{self, Idle as _, fake::TickingClock, pattern},
    dma::{
        self, Plan, Policy, Pool, Table,
        fake::{FakeMachine, Frames},
    },
    engine::{
        edu,
        fake::{self, FakeEdu},
    },
    nic::{
        Nic,
        fake::{
            FakeRtl8139,
            played::{Fault, Played, Player as _},
            virtio::{CAPABILITIES, Traits, Virtio},
        },
        rtl8139, virtio,
    },
    pci::{
        Command, ConfigError, Function, Width,
        fake::{FakeBus, FakeDevice},
    },
    xen::{events::Pirq, fake::FakeEvents},
};
use alloc::{boxed::Box, vec};
use core::cell::RefCell;

const LINE: u8 = 0x0b;
const MESSAGE: Pirq = Pirq(55);

/// A bus with one function, and what was turned on and off.
#[derive(Debug)]
struct FakeHost {
    bus: FakeBus,
    bdf: [Bdf; 1],
    refuses: Option<Delivery>,
    on: RefCell<Vec<Delivery>>,
}

impl FakeHost {
    fn new(refuses: Option<Delivery>) -> Self {
        Self::with_capability(refuses, 0x05, &[0x80, 0x00])
    }

    /// One with a table of messages that the host grants.
    fn with_table() -> Self {
        Self::with_capability(None, 0x11, &[0; 10])
    }

    fn with_capability(refuses: Option<Delivery>, id: u8, body: &[u8]) -> Self {
        let bdf = "00:00.0".parse().unwrap();
        let device = FakeDevice::new(0x1234, 0x11e8, 0xff_0000).interrupt(1, LINE);
        let device = device.capability(0x40, id, body);
        let on = RefCell::default();
        Self { bus: FakeBus::hardware().with(bdf, device), bdf: [bdf], refuses, on }
    }

    fn resources(&self) -> Resources {
        Resources::read(&self.bus, self.bdf[0]).unwrap().unwrap()
    }
}

impl ConfigAccess for FakeHost {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        self.bus.read(bdf, offset, width)
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        self.bus.write(bdf, offset, width, value)
    }
}

impl Host for FakeHost {
    fn functions(&self) -> &[Bdf] {
        &self.bdf
    }

    fn turn_on(&self, function: &Resources, how: Delivery) -> Result<Pirq, Reason> {
        assert!(function.offers(how), "{how} was asked for, which the function lacks");
        assert!(self.on.borrow().is_empty(), "{how} on top of {:?}", self.on.borrow());
        if self.refuses == Some(how) {
            return Err(Reason::new("front-msix-refused", "no vectors"));
        }
        self.on.borrow_mut().push(how);
        Ok(if how == Delivery::Intx { function.line().unwrap() } else { MESSAGE })
    }

    fn turn_off(&self, _: Bdf, how: Delivery) -> Result<(), Reason> {
        let on = self.on.borrow_mut().pop();
        assert_eq!(on, Some(how), "turned off what is not on");
        Ok(())
    }
}

/// Runs `test` with a device that was started on `host`, and polled; afterwards all must be back.
fn with_device(host: &FakeHost, test: impl FnOnce(Running<'_>, &Resources)) {
    with_chip(host, |_, running, resources| test(running, resources));
}

/// As [`with_device`], with what plays the device.
fn with_chip(host: &FakeHost, test: impl FnOnce(&FakeEdu<'_>, Running<'_>, &Resources)) {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeEdu::new(&machine), TickingClock::default());
    let (events, mut table) = (FakeEvents::new(), Box::new(Table::new()));
    let pool = Pool::new(&mut table, &machine);
    let resources = host.resources();
    let idle = edu::Idle::reset(&chip, &clock).unwrap();
    let limits = idle.limits();
    pool.start(&Plan { mask: limits.mask, ..Plan::new(1 << 20) }, &mut |_| {}).unwrap();
    let device = dma::Device::new(&pool, &machine, limits, Policy::Force);
    let started = Started::Mover(Box::new(idle.start(device).unwrap()));
    let none = Reason::new("pci-no-intx", "no interrupt");
    let event_clock = events.clock();
    let interrupt = Interrupt::none(&*events, &*event_clock, none);
    test(&chip, Running::new(started, interrupt, &resources, limits), &resources);
    assert_eq!((events.taken(), pool.stats().in_use), (0, 0));
    assert_eq!(host.on.borrow().len(), 0, "left on");
}

fn function(host: &FakeHost) -> Function<'_> {
    Function::probe(host, host.bdf[0]).unwrap().unwrap()
}

fn how(running: &Running<'_>) -> Option<Delivery> {
    running.interrupt.bound().ok().map(|bound| bound.how)
}

#[test]
fn the_best_way_that_the_host_grants_is_taken_and_each_refusal_told() {
    for (refuses, taken) in [(None, Delivery::Msi), (Some(Delivery::Msi), Delivery::Intx)] {
        let host = FakeHost::new(refuses);
        with_device(&host, |mut running, resources| {
            let mut refused = Vec::new();
            running.climb(&host, resources, &mut |how, reason| refused.push((how, reason.code)));
            assert_eq!(how(&running), Some(taken));
            assert_eq!(running.refused(resources), None, "it has one");
            let told = refuses.map(|how| (how, "front-msix-refused"));
            assert_eq!(refused, told.into_iter().collect::<Vec<_>>());
            running.stop(&host, &host, &mut Vec::new()).unwrap();
        });
    }
}

#[test]
fn one_way_is_turned_off_before_another_is_turned_on_and_a_refusal_leaves_none() {
    let host = FakeHost::new(None);
    with_device(&host, |mut running, resources| {
        for next in [Delivery::Intx, Delivery::Msi, Delivery::Intx] {
            running.deliver(&host, resources, next).unwrap();
            assert_eq!((how(&running), host.on.borrow().as_slice()), (Some(next), &[next][..]));
        }
        running.stop(&host, &host, &mut Vec::new()).unwrap();
    });
    let host = FakeHost::new(Some(Delivery::Msi));
    with_device(&host, |mut running, resources| {
        running.deliver(&host, resources, Delivery::Intx).unwrap();
        let refused = running.deliver(&host, resources, Delivery::Msi).unwrap_err();
        assert_eq!(refused.code, "front-msix-refused");
        assert_eq!(running.interrupt.bound().unwrap_err(), &refused, "polled, and that is why");
        assert_eq!(running.refused(resources), Some(Outcome::Failure(refused.clone())));
        running.stop(&host, &host, &mut Vec::new()).unwrap();
    });
}

#[test]
fn a_device_whose_interrupt_is_off_is_silent_and_moves_bytes_all_the_same() {
    let host = FakeHost::new(None);
    with_device(&host, |mut running, resources| {
        running.deliver(&host, resources, Delivery::Msi).unwrap();
        for _ in 0..2 {
            running.quiet(&host, Reason::new("irq-off", "")).unwrap();
            assert_eq!((how(&running), host.on.borrow().len()), (None, 0));
        }
        let (sent, back) = trip(&mut running);
        assert_eq!(sent, back);
        assert_eq!(running.acknowledge(), Cause::empty(), "its pin is not asserted instead");
        running.stop(&host, &host, &mut Vec::new()).unwrap();
    });
}

#[test]
fn a_device_whose_interrupt_is_lost_is_polled_from_then_on_and_says_so() {
    let host = FakeHost::new(None);
    let lost = || Outcome::Failure(Reason::new(IRQ_LOST, "none came"));
    let others = [
        Outcome::Failure(Reason::new("dma-byte-mismatch", "")),
        Outcome::Skip(Reason::new(IRQ_LOST, "told before")),
    ];
    with_device(&host, |mut running, resources| {
        running.deliver(&host, resources, Delivery::Msi).unwrap();
        for other in others {
            assert_eq!(running.quiet_if_lost(&host, other.clone()), other);
            assert_eq!(how(&running), Some(Delivery::Msi), "it was not lost");
        }
        let told = running.quiet_if_lost(&host, lost());
        assert_eq!(told.reason().detail, "none came; from here on the device is polled");
        assert_eq!((how(&running), host.on.borrow().len()), (None, 0));
        assert!(running.describe().ends_with("polled: irq-lost: none came"), "{running:?}");
        let (sent, back) = trip(&mut running);
        assert_eq!(sent, back);
        assert_eq!(running.quiet_if_lost(&host, lost()), lost(), "it is told once");
        running.stop(&host, &host, &mut Vec::new()).unwrap();
    });
}

#[test]
fn a_stopped_device_does_no_dma_and_keeps_no_interrupt() {
    let host = FakeHost::new(None);
    with_device(&host, |mut running, resources| {
        running.climb(&host, resources, &mut |_, _| {});
        let function = function(&host);
        function.enable(Command::MASTER).unwrap();
        let mut kept = Vec::new();
        running.stop(&host, &host, &mut kept).unwrap();
        assert!(!function.command().unwrap().contains(Command::MASTER));
        assert_eq!(kept, Vec::<String>::new());
    });
}

#[test]
fn memory_of_a_device_that_hangs_comes_back_once_it_masters_the_bus_no_more() {
    let host = FakeHost::new(None);
    with_chip(&host, |chip, mut running, _| {
        chip.set_fault(fake::Fault::Halts);
        running.mover().send(vec![3; 100].into()).map(drop).unwrap_err();
        let stopped = running.stop(&host, &host, &mut Vec::new());
        assert_eq!(stopped.unwrap_err().code, "device-reset-timeout");
    });
}

#[test]
fn an_interrupt_is_masked_on_purpose_after_a_few_that_were_the_device_s() {
    let host = FakeHost::new(None);
    with_chip(&host, |chip, running, resources| {
        let mut running = running.with_fault(Some(SelfTest::MaskIrq));
        running.climb(&host, resources, &mut |_, _| {});
        running.mover().enable_interrupts(Cause::RECEIVER);
        let mut interrupts = || {
            let (_, sent) = running.mover().send(vec![7; 100].into()).unwrap();
            let mut looks = (0..100).map(|_| running.fetch(&sent, &mut Vec::new()).unwrap());
            assert!(looks.any(|arrival| arrival == Arrival::Back(100)));
            (chip.interrupts(), (0..RINGS).map(|_| running.acknowledge()).collect::<Vec<_>>())
        };
        for _ in 0..RINGS {
            let (interrupts, causes) = interrupts();
            assert!(interrupts && causes[0] == Cause::RECEIVED && causes[1].is_empty());
        }
        assert!(!interrupts().0, "masked");
        running.stop(&host, &host, &mut Vec::new()).unwrap();
    });
}

/// Has 100 bytes go out and come back, polled: what was sent, and what came.
fn trip(running: &mut Running<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut sent = vec![0; 100];
    running.mover().prepare().unwrap();
    running.mover().fill(&mut sent, 7).unwrap();
    let (_, sent) = running.mover().send(sent.into()).unwrap();
    let mut back = Vec::new();
    for _ in 0..100 {
        if let Arrival::Back(len) = running.fetch(&sent, &mut back).unwrap() {
            back.truncate(len);
            return (sent.to_vec(), back);
        }
        assert!(!running.interrupt.wait(Instant(u64::MAX - 1)), "an interrupt from nowhere");
    }
    panic!("nothing came");
}

#[test]
fn a_polled_device_moves_bytes_and_a_fault_on_purpose_changes_one() {
    for (fault, wrong) in [(None, None), (Some(SelfTest::Loopback), Some(99))] {
        let host = FakeHost::new(None);
        with_device(&host, |running, _| {
            let mut running = running.with_fault(fault);
            let (sent, back) = trip(&mut running);
            assert_eq!(pattern::differs(&sent, &back), wrong);
            running.stop(&host, &host, &mut Vec::new()).unwrap();
        });
    }
}

#[test]
fn a_device_says_what_it_is_how_it_interrupts_and_what_it_asks_attention_for() {
    let host = FakeHost::new(None);
    with_device(&host, |mut running, resources| {
        assert!(running.describe().ends_with("polled: pci-no-intx: no interrupt"));
        running.climb(&host, resources, &mut |_, _| {});
        let said = running.describe();
        assert!(said.starts_with("edu ") && said.contains("MSI, pirq 55"), "{said}");
        assert!(!running.is_card() && running.card().is_none());
        assert_eq!(running.acknowledge(), Cause::empty());
        running.mover().prepare().unwrap();
        let (_, sent) = running.mover().send(vec![7; 100].into()).unwrap();
        let mut looks = (0..100).map(|_| running.fetch(&sent, &mut Vec::new()).unwrap());
        assert!(looks.any(|arrival| arrival == Arrival::Back(100)));
        assert_eq!(running.acknowledge(), Cause::RECEIVED);
        assert_eq!(running.acknowledge(), Cause::empty(), "once");
        running.stop(&host, &host, &mut Vec::new()).unwrap();
    });
}

/// A card that was just reset, with a pool that everything bounces through.
fn start<'m, I>(idle: I, pool: &'m Pool<'m>, machine: &'m FakeMachine) -> (Started<'m>, Limits)
where
    I: device::Idle<'m, Running: Nic>,
{
    let limits = idle.limits();
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let nic = idle.start(dma::Device::new(pool, machine, limits, Policy::Force)).unwrap();
    (Started::Nic(Loopback::new(Box::new(nic))), limits)
}

#[test]
fn a_network_card_is_one() {
    let machine = FakeMachine::new(Frames::default());
    let (chip, clock) = (FakeRtl8139::new(&machine, [2, 0, 0, 0, 0, 1]), TickingClock::default());
    let (events, mut table) = (FakeEvents::new(), Box::new(Table::new()));
    let pool = Pool::new(&mut table, &machine);
    let host = FakeHost::new(None);
    let idle = rtl8139::Idle::reset(&chip, &clock).unwrap();
    let (started, limits) = start(idle, &pool, &machine);
    let event_clock = events.clock();
    let interrupt = Interrupt::none(&*events, &*event_clock, Reason::new("pci-no-intx", ""));
    let mut running = Running::new(started, interrupt, &host.resources(), limits);
    assert!(running.is_card());
    assert_eq!(running.card().map(|(card, _)| card.name()), Some("rtl8139"));
    running.stop(&host, &host, &mut Vec::new()).unwrap();
}

#[test]
fn where_a_device_refuses_a_way_that_the_host_grants_the_next_is_taken() {
    let (machine, clock) = (FakeMachine::new(Frames::default()), TickingClock::default());
    let chip = Played::new(&machine, [2, 0, 0, 0, 0, 1], Virtio::new(Traits::default()));
    let (events, mut table) = (FakeEvents::new(), Box::new(Table::new()));
    let pool = Pool::new(&mut table, &machine);
    let host = FakeHost::with_table();
    let (idle, resources) =
        (virtio::reset(&CAPABILITIES, |_| Ok(&chip), &clock).unwrap(), host.resources());
    let (started, limits) = start(idle, &pool, &machine);
    let event_clock = events.clock();
    let interrupt = Interrupt::none(&*events, &*event_clock, Reason::new("pci-no-intx", ""));
    let mut running = Running::new(started, interrupt, &resources, limits);
    chip.set_fault(Fault::NoVector(0));
    let refused = running.deliver(&host, &resources, Delivery::Msix).unwrap_err();
    assert_eq!((refused.code, events.taken()), ("irq-vector-refused", 0));
    assert_eq!(
        running.refused(&resources),
        Some(Outcome::Failure(refused)),
        "polled, and that is why"
    );
    assert_eq!(host.on.borrow().len(), 0, "left on");
    let mut told = Vec::new();
    running.climb(&host, &resources, &mut |how, reason| told.push((how, reason.code)));
    assert_eq!(told, [(Delivery::Msix, "irq-vector-refused")]);
    assert_eq!((how(&running), host.on.borrow().len()), (Some(Delivery::Intx), 1));
    running.stop(&host, &host, &mut Vec::new()).unwrap();
}

#[test]
fn bus_mastering_that_stays_on_is_told_and_nothing_is_left_on_for_it() {
    let host = FakeHost::new(None);
    with_device(&host, |mut running, resources| {
        running.climb(&host, resources, &mut |_, _| {});
        function(&host).enable(Command::MASTER).unwrap();
        let stopped = running.stop(&host, &StuckMaster(&host), &mut Vec::new());
        assert_eq!(stopped.unwrap_err().code, "pci-bus-master-left");
    });
}
