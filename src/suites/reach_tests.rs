//! What a device is said to reach, over machines whose IOMMU keeps some frames from it.

use super::*;
use crate::{
    addr::{DmaMask, Mfn, PAGE_SIZE, Pfn},
    device::{Idle as _, fake::TickingClock},
    dma::{
        Device, Limits, Plan, Policy, Pool, Probe, Table,
        fake::{FakeMachine, Frames},
    },
    engine::{edu, fake::FakeEdu},
    nic::{Loopback, fake::FakeRtl8139, rtl8139},
    storage::{
        ahci,
        fake::{FakeAhci, FakeNvme, Kind},
        nvme,
    },
    usb::{fake::FakeXhci, xhci},
    xen::hypercall::Pte,
};
use alloc::{boxed::Box, vec};
use core::time::Duration;

/// A frame within 28 bits, and one beyond 32.
const LOW: Mfn = Mfn(0x7000);
const HIGH: Mfn = Mfn(0x20_0000);

type Test<'t> = &'t dyn Fn(&FakeMachine, &mut dyn Mover, &TickingClock);

fn with_pool(bits: u32, run: impl FnOnce(&FakeMachine, &TickingClock, Device<'_>)) {
    let machine = FakeMachine::new(Frames::default());
    let clock = TickingClock::default();
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let mask = DmaMask::from_bits(bits).unwrap();
    pool.start(&Plan { mask, ..Plan::new(1 << 20) }, &mut |_| {}).unwrap();
    run(&machine, &clock, Device::new(&pool, &machine, Limits::new(mask), Policy::Auto));
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

/// The device's view, with its own limits but for its reach.
fn narrowed<'m>(dma: Device<'m>, own: Limits, machine: &'m FakeMachine) -> Device<'m> {
    Device::new(dma.pool(), machine, Limits { mask: dma.limits().mask, ..own }, Policy::Auto)
}

fn with_edu(test: Test<'_>) {
    with_pool(28, |machine, clock, dma| {
        let chip = FakeEdu::new(machine);
        let idle = edu::Idle::reset(&chip, clock).unwrap();
        let dma = narrowed(dma, idle.limits(), machine);
        test(machine, &mut idle.start(dma).unwrap(), clock);
    });
}

fn with_card(test: Test<'_>) {
    with_pool(32, |machine, clock, dma| {
        let chip = FakeRtl8139::new(machine, [2, 0, 0, 0, 0, 1]);
        let idle = rtl8139::Idle::reset(&chip, clock).unwrap();
        let dma = narrowed(dma, idle.limits(), machine);
        test(machine, &mut Loopback::new(Box::new(idle.start(dma).unwrap())), clock);
    });
}

fn with_nvme(test: Test<'_>) {
    with_pool(32, |machine, clock, dma| {
        let chip = FakeNvme::new(machine, Kind::default());
        let idle = nvme::Idle::reset(&chip, clock).unwrap();
        let dma = narrowed(dma, idle.limits(), machine);
        test(machine, &mut idle.start(dma).unwrap(), clock);
    });
}

fn with_xhci(test: Test<'_>) {
    with_pool(32, |machine, clock, dma| {
        let chip = FakeXhci::new(machine, clock);
        let idle = xhci::Idle::reset(&chip, clock).unwrap();
        let dma = narrowed(dma, idle.limits(), machine);
        test(machine, &mut idle.start(dma).unwrap(), clock);
    });
}

fn with_ahci(test: Test<'_>) {
    with_pool(32, |machine, clock, dma| {
        let chip = FakeAhci::new(machine, clock);
        let idle = ahci::Idle::reset(&chip, clock).unwrap();
        let dma = narrowed(dma, idle.limits(), machine);
        test(machine, &mut idle.start(dma).unwrap(), clock);
    });
}

/// A page for this device to be tried on; which bytes of it.
fn page(machine: &FakeMachine, mover: &mut dyn Mover, mfn: Mfn, seed: u64) -> (Probe, BusAddr) {
    let mut page = machine.pages(&[(Pfn(mfn.0), mfn)]);
    for (nth, entry) in page.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *entry = Pte::absent(word(seed, nth)).0.to_le_bytes();
    }
    let len = mover.lengths().near(16);
    let start = if mover.only_filled().is_some() || mover.one_way().is_some() { 0 } else { FRAME };
    if start == 0 {
        mover.fill(&mut page[..len], usize::try_from(seed).unwrap()).unwrap();
    }
    assert!(start + len <= PAGE_SIZE);
    (Probe::from(page).select(start..start + len), BusAddr(mfn.addr().0 + start as u64))
}

fn look(
    machine: &FakeMachine,
    mover: &mut dyn Mover,
    clock: &TickingClock,
    mfn: Mfn,
) -> Result<Seen, Outcome> {
    mover.prepare().unwrap();
    let (probe, bus) = page(machine, mover, mfn, 77 + mfn.0);
    let wait = Deadline::new(clock, Duration::from_millis(20));
    read_by(mover, Source::from(probe), bus, &wait)
}

/// Bytes of its own come back as ever.
fn works(mover: &mut dyn Mover, clock: &TickingClock) {
    let mut bytes = vec![0; mover.lengths().near(512)];
    mover.fill(&mut bytes, 5).unwrap();
    mover.send(bytes.clone().into()).unwrap();
    let mut back = Vec::new();
    let wait = Deadline::new(clock, Duration::from_millis(20));
    let came = wait.turns(|_| match mover.fetch(&bytes, &mut back)? {
        Arrival::Back(len) => Ok::<_, Outcome>(Some(len)),
        _ => Ok(None),
    });
    assert_eq!(came.unwrap(), Some(bytes.len()));
    assert!(back[..bytes.len()] == bytes);
}

const READERS: [fn(Test<'_>); 4] = [with_edu, with_card, with_nvme, with_xhci];

#[test]
fn a_frame_that_nothing_is_before_is_reached() {
    for with in READERS {
        with(&|machine, mover, clock| {
            for nth in 0..3 {
                let seen = look(machine, mover, clock, Mfn(LOW.0 + nth)).unwrap();
                assert_eq!(seen, Seen::Reached, "{}", mover.name());
            }
            works(mover, clock);
            assert_eq!(machine.faults(), []);
        });
    }
}

/// A frame that the device reads as `instead`, after one that is reached: what is left of that could pass for it.
fn shielded(machine: &FakeMachine, mover: &mut dyn Mover, clock: &TickingClock, instead: u8) {
    machine.shield(LOW, instead);
    assert_eq!(look(machine, mover, clock, Mfn(LOW.0 + 1)), Ok(Seen::Reached));
    let seen = look(machine, mover, clock, LOW).unwrap();
    let Seen::Blocked(why) = seen else { panic!("{}: {seen:?}", mover.name()) };
    // What came instead, or what the device or its driver has to say.
    let is_code = |word: &str| word.contains('-');
    let has_code = why.split([':', ' ']).next().is_some_and(is_code);
    assert!(has_code || why.contains("bytes came that do not lie there"), "{why}");
    let faults = machine.faults();
    assert!(!faults.is_empty() && faults.iter().all(|at| at.frame() == LOW));
    works(mover, clock);
}

#[test]
fn a_frame_behind_an_iommu_is_not_whatever_is_read_there_and_the_device_works_afterwards() {
    for with in [with_edu, with_card, with_nvme] {
        for instead in [0, 0xff, 0x5a] {
            with(&|machine, mover, clock| shielded(machine, mover, clock, instead));
        }
    }
    // Its fake takes no command that can't be one.
    with_xhci(&|machine, mover, clock| shielded(machine, mover, clock, 0));
}

#[test]
fn what_the_device_was_never_told_of_is_not_called_blocked() {
    for with in READERS {
        with(&|machine, mover, clock| {
            assert_eq!(look(machine, mover, clock, LOW), Ok(Seen::Reached), "told of another");
            let outcome = look(machine, mover, clock, HIGH).unwrap_err();
            assert_eq!(outcome.reason().code, "dma-out-of-mask", "{}", mover.name());
            works(mover, clock);
        });
    }
}

#[test]
fn a_disk_that_only_writes_to_memory_is_not_tried() {
    with_ahci(&|machine, mover, clock| {
        machine.shield(LOW, 0);
        let outcome = look(machine, mover, clock, LOW).unwrap_err();
        assert!(matches!(&outcome, Outcome::Skip(reason) if reason.code == "ahci-read-only"));
        works(mover, clock);
    });
}

#[test]
fn words_are_drawn_and_make_a_frame_that_nobody_minds() {
    for seed in 0..64 {
        let bytes: Vec<u8> =
            (0..16).flat_map(|nth| Pte::absent(word(seed, nth)).0.to_le_bytes()).collect();
        let frame = &bytes[FRAME..];
        assert_eq!(frame[12..14], EXPERIMENTAL);
        assert_eq!(frame[0] & 1, 1, "to a group, so that no station takes it for its own");
        assert_eq!(frame[6] & 1, 0, "from one");
    }
    let drawn = |seed| (0..512).map(|nth| word(seed, nth)).collect::<Vec<_>>();
    assert!(drawn(1).iter().zip(drawn(2)).all(|(a, b)| *a != b));
}
