//! Where the pool's memory comes from and goes to, also when Xen refuses.

use super::*;

fn steps(machine: &dyn ContiguousMemory, plan: &Plan) -> (Result<usize, StartError>, Vec<Step>) {
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, machine);
    let mut steps = Vec::new();
    let started = pool.start(plan, &mut |step| steps.push(step));
    (started.map(|started| started.bytes), steps)
}

#[test]
fn a_start_takes_the_largest_segments_there_are() {
    let machine = FakeMachine::default();
    let (started, steps) = steps(&machine, &Plan::new(40 * MIB));
    assert_eq!(started, Ok(40 * MIB));
    let orders = steps.iter().map(|step| match step {
        Step::Acquired { order, .. } => order.get(),
        other => panic!("{other:?}"),
    });
    assert_eq!(orders.collect::<Vec<_>>(), [12, 12, 11]);
    assert_eq!(machine.balance().out, 0, "dropping the pool gives it all back");
}

#[test]
fn memory_from_the_line_on_is_beyond_the_device_that_ends_there() {
    let frames = Frames { free: vec![(BusAddr(GIB_4).frame(), 256)], ..Frames::default() };
    let machine = FakeMachine::new(frames);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let plan = Plan { mask: DmaMask::BITS_64, ..Plan::new(MIB) };
    pool.start(&plan, &mut |_| {}).unwrap();
    let buffer = [7; 100];
    for (mask, served) in [(32, false), (33, true)] {
        let device = Device::new(&pool, &machine, Limits::new(bits(mask)), Policy::Force);
        let mapped = device.map::<ToDevice, _>(&buffer[..]).map(drop);
        let code = mapped.map_err(|error| error.code());
        assert_eq!(code, if served { Ok(()) } else { Err("dma-no-low-segment") }, "{mask}");
    }
}

#[test]
fn an_order_xen_does_not_permit_is_asked_for_once() {
    let frames =
        Frames { order_limit: order(9), free: vec![(Mfn(0x8000), 1024)], ..Frames::default() };
    let machine = FakeMachine::new(frames);
    let (started, steps) = steps(&machine, &Plan::new(16 * MIB));
    assert_eq!(started, Ok(4 * MIB));
    let refused = |wanted: Order| {
        let step = |step: &&Step| matches!(step, Step::Refused { order, .. } if *order == wanted);
        steps.iter().filter(step).count()
    };
    assert_eq!([12, 11, 10, 9].map(|o| refused(order(o))), [1, 1, 1, 2]);
    let halved = steps.iter().filter(|step| matches!(step, Step::Halved { .. })).count();
    assert_eq!(halved, 2);
}

#[test]
fn short_memory_halves_the_total_and_gives_every_attempt_back() {
    let frames = Frames { free: vec![(Mfn(0x8000), 1500)], ..Frames::default() };
    let machine = FakeMachine::new(frames);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let (mut totals, mut held, mut requests) = (Vec::new(), 0, 0);
    let started = pool
        .start(&Plan::new(64 * MIB), &mut |step| match step {
            Step::Halved { bytes } => totals.push(bytes / MIB),
            Step::Acquired { order, .. } => (held, requests) = (held + order.bytes(), requests + 1),
            Step::Refused { .. } => requests += 1,
            Step::GaveBack { bytes } => {
                assert_eq!((bytes, machine.free_frames()), (held, 1500));
                held = 0;
            }
            _ => {}
        })
        .unwrap();
    assert_eq!((totals, started.bytes, held), (vec![32, 16, 8, 4], 4 * MIB, 4 * MIB));
    assert_eq!(started.requests, requests);
    let text = started.to_string();
    assert!(text.starts_with("4096 KiB from 0x"), "{text}");
    assert!(text.ends_with(&format!("; segments: 1, exchanges: {requests}")), "{text}");
    assert_eq!(machine.free_frames(), 1500 - 1024);
    let again = pool.start(&Plan::new(MIB), &mut |_| {}).unwrap_err();
    assert_eq!(again, StartError::AlreadyStarted { bytes: 4 * MIB });
}

#[test]
fn below_the_floor_nothing_is_kept() {
    let frames = Frames { free: vec![(Mfn(0x8000), 255)], ..Frames::default() };
    let machine = FakeMachine::new(frames);
    let (started, _) = steps(&machine, &Plan::new(8 * MIB));
    let error = started.unwrap_err();
    assert!(matches!(error, StartError::NoLowMemory { bytes: MIB, .. }), "{error}");
    assert_eq!((error.code(), machine.free_frames()), ("pool-no-low-memory", 255));
    let (tiny, _) = steps(&machine, &Plan::new(1000));
    assert_eq!(tiny, Err(StartError::BelowFloor { bytes: 0, floor: MIB }));
}

#[test]
fn a_guest_without_spare_pages_is_told_so() {
    let machine = FakeMachine::new(Frames { guest_pages: 100, ..Frames::default() });
    let (started, steps) = steps(&machine, &Plan::new(2 * MIB));
    // 64 + 32 + 4 of 100 pages are had in the last attempt; then the table is too small for singles.
    let refusal = AcquireError::NoFreePages { pages: 4 };
    let expected = StartError::NoLowMemory { bytes: MIB, last: refusal.into() };
    assert_eq!(started, Err(expected));
    assert!(steps.contains(&Step::Refused { order: order(2), error: refusal }));
}

#[test]
fn memory_in_crumbs_stops_at_a_full_table_not_at_a_full_guest() {
    const CRUMBS: u64 = if cfg!(miri) { 200 } else { 4000 };
    let crumbs = (0..CRUMBS).map(|n| (Mfn(0x8000 + 2 * n), 1)).collect();
    let machine = FakeMachine::new(Frames { free: crumbs, ..Frames::default() });
    let (started, steps) = steps(&machine, &Plan { floor: 4096, ..Plan::new(8 * MIB) });
    assert_eq!(started, Ok(64 * 4096));
    assert!(steps.iter().any(|step| matches!(step, Step::TooScattered { .. })));
    assert_eq!(machine.free_frames(), CRUMBS);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "a gigabyte of slots to fill, of which leaks are counted and nothing else"
)]
fn whichever_call_fails_nothing_leaks() {
    for for_good in [false, true] {
        let calls = (0..).find(|&n| !fails_cleanly(n, for_good)).unwrap();
        assert!(calls > 10, "only {calls} calls");
    }
}

/// Whether there was an `n`-th call to fail.
fn fails_cleanly(n: usize, for_good: bool) -> bool {
    let machine = FakeMachine::new(Frames { order_limit: order(9), ..Frames::default() });
    let before = machine.free_frames();
    let faulty = Faulty::new(&machine);
    let faulty = if for_good { faulty.dry_after(n) } else { faulty.failing_acquire(n) };
    use_everything(&faulty, &machine);
    let balance = machine.balance();
    assert_eq!((balance.out, balance.bad_releases), (0, 0), "call {n}");
    assert_eq!(machine.free_frames(), before, "call {n}");
    n < faulty.acquires()
}

/// A start, mappings until the pool must grow, shared memory, a shrink; failures are expected.
fn use_everything(memory: &dyn ContiguousMemory, translate: &dyn Translate) {
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, memory);
    let plan = Plan::new(8 * MIB).growing_by(order(9));
    let _ = pool.start(&plan, &mut |_| {});
    let device = Device::new(&pool, translate, Limits::new(bits(28)), Policy::Force);
    let mappings: Vec<_> = (0..12).map(|_| device.map::<FromDevice, _>(vec![0; MIB])).collect();
    let rings: Vec<_> = (0..4).map(|_| device.coherent(2 * MIB)).collect();
    for mapping in mappings.into_iter().flatten() {
        mapping.finish(0).unwrap();
    }
    rings.into_iter().flatten().for_each(|ring| ring.close().unwrap());
    pool.shrink();
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

#[test]
fn a_region_that_xen_does_not_take_back_is_counted_and_never_used_again() {
    let machine = FakeMachine::default();
    let faulty = Faulty::new(&machine).failing_release(1);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &faulty);
    pool.start(&Plan { max_order: order(9), ..Plan::new(6 * MIB) }, &mut |_| {}).unwrap();
    let stopped = pool.stop(&mut drop);
    assert_eq!((stopped.released, stopped.stuck_bytes), (4 * MIB, 2 * MIB));
    assert_eq!(pool.stats().stuck_bytes, 2 * MIB);
    assert!(!pool.stats().is_balanced());
    assert!(!pool.is_started());
    assert_eq!(machine.balance().out, 1);
}

#[test]
fn a_segment_in_use_stays_when_the_pool_stops() {
    let machine = FakeMachine::default();
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan { max_order: order(8), ..Plan::new(2 * MIB) }, &mut |_| {}).unwrap();
    let mapping = forced(&machine, &pool).map::<ToDevice, _>(&[0; 10][..]).unwrap();
    let stopped = pool.stop(&mut drop);
    assert_eq!((stopped.released, stopped.slots_in_use), (MIB, 1));
    mapping.abandon();
    assert_eq!(pool.stop(&mut drop).released, MIB);
}

#[test]
fn a_dropped_mapping_is_a_leak_that_shows() {
    let machine = FakeMachine::default();
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(MIB), &mut |_| {}).unwrap();
    drop(forced(&machine, &pool).map::<ToDevice, _>(&[0; 3000][..]).unwrap());
    assert_eq!(pool.stop(&mut drop).slots_in_use, 2);
    drop(pool);
    assert_eq!(machine.balance().out, 1, "the device may still write there");
}

#[test]
fn what_one_pool_left_with_a_device_is_none_of_the_next_ones() {
    let (first, second) = (FakeMachine::default(), FakeMachine::default());
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &first);
    pool.start(&Plan { max_order: order(6), ..Plan::new(MIB) }, &mut |_| {}).unwrap();
    drop(forced(&first, &pool).map::<FromDevice, _>(vec![0; 100]).unwrap());
    // Dropped pools stop, forgotten ones don't.
    std::mem::forget(pool);
    let pool = Pool::new(&mut table, &second);
    assert_eq!(pool.stats(), pvbounce::dma::Stats::NONE);
    assert!(!pool.is_started());
    assert_eq!(pool.largest_segment(DmaMask::BITS_64), 0);
    let error = forced(&second, &pool).map::<ToDevice, _>(&[0; 100][..]).unwrap_err();
    assert_eq!(error, MapError::NoPool(Why::Forced));
    pool.start(&Plan::new(MIB), &mut |_| {}).unwrap();
    assert_eq!((pool.stats().segments, pool.stats().slots), (1, MIB / SLOT_SIZE));
    let mapping = forced(&second, &pool).map::<ToDevice, _>(vec![0; MIB]).unwrap();
    mapping.finish(0).unwrap();
    assert!(pool.stats().is_balanced());
    assert_eq!(pool.stop(&mut drop).released, MIB);
    assert_eq!((first.balance().out, second.balance().out), (4, 0));
}

/// A memory that hands out something else than it was asked for.
struct Liar<'a> {
    inner: &'a FakeMachine,
    smaller: bool,
}

impl ContiguousMemory for Liar<'_> {
    fn acquire(&self, order: Order, mask: DmaMask) -> Result<Region, AcquireError> {
        if self.smaller {
            self.inner.acquire(order.smaller().unwrap_or(order), mask)
        } else {
            self.inner.acquire(order, DmaMask::BITS_64)
        }
    }

    fn release(&self, region: Region) -> Result<(), ReleaseError> {
        self.inner.release(region)
    }
}

#[test]
fn memory_that_is_not_what_was_asked_for_goes_back() {
    for smaller in [true, false] {
        let machine = FakeMachine::default();
        let liar = Liar { inner: &machine, smaller };
        let mut table = Box::new(Table::new());
        let pool = Pool::new(&mut table, &liar);
        let plan = Plan { max_order: order(5), floor: 1 << 17, ..Plan::new(1 << 17) };
        let misplaced = |error| matches!(error, AcquireError::Misplaced { .. });
        match pool.start(&plan, &mut |_| {}) {
            Ok(started) => {
                assert!(smaller && started.segments == 32, "single pages are what they are");
            }
            Err(StartError::NoLowMemory { last: GrowError::Acquire(error), .. }) => {
                assert!(!smaller && misplaced(error), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
        let device = forced(&machine, &pool);
        let ring = device.coherent(3 * PAGE_SIZE).unwrap_err();
        assert!(matches!(ring, CoherentError::NoMemory(error) if misplaced(error)), "{ring}");
        assert_eq!((pool.stats().in_flight, machine.balance().out), (0, pool.stats().segments));
    }
}

#[test]
fn memory_handed_in_is_handed_back() {
    let machine = FakeMachine::default();
    let region = machine.acquire(order(4), DmaMask::BITS_32).unwrap();
    let start = region.bus();
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.adopt(region).unwrap();
    let mut seen = Vec::new();
    pool.for_each_segment(&mut |segment| seen.push((segment.bus, segment.origin)));
    assert_eq!(seen, [(start, Origin::Adopted)]);
    let mapping = forced(&machine, &pool).map::<FromDevice, _>(vec![0; 5000]).unwrap();
    assert_eq!(mapping.finish(0).unwrap(), [0; 5000]);
    let mut back = Vec::new();
    assert_eq!(pool.stop(&mut |region| back.push(region)).handed_back, 65536);
    assert_eq!(back[0].bus(), start);
    machine.release(back.remove(0)).unwrap();
}

#[test]
fn a_segment_from_a_power_of_two_on_is_for_devices_with_one_more_bit() {
    let start = Mfn(1 << 19);
    let machine = FakeMachine::new(Frames { free: vec![(start, 16)], ..Frames::default() });
    let region = machine.acquire(order(4), DmaMask::BITS_32).unwrap();
    assert_eq!(region.mfn(), start);
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.adopt(region).unwrap();
    let device = |wide| Device::new(&pool, &machine, Limits::new(bits(wide)), Policy::Force);
    for wide in [24, 30, 31] {
        assert!(device(wide).map::<ToDevice, _>(vec![0; 100]).is_err(), "{wide} bits");
    }
    device(32).map::<ToDevice, _>(vec![0; 100]).unwrap().abandon();
    let mut back = Vec::new();
    let _stopped = pool.stop(&mut |region| back.push(region));
    machine.release(back.remove(0)).unwrap();
}

#[test]
fn memory_larger_than_a_segment_is_handed_back_at_once() {
    let large = Order::every().last().unwrap();
    let free = vec![(Mfn(0x8000), 1 << 14)];
    let machine = FakeMachine::new(Frames { order_limit: large, free, ..Frames::default() });
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let region = machine.acquire(large, DmaMask::BITS_32).unwrap();
    let Err(AdoptError::Misaligned(region)) = pool.adopt(region) else {
        panic!("{large} was taken")
    };
    machine.release(region).unwrap();
    assert_eq!((pool.stats().segments, machine.balance().out), (0, 0));
    pool.adopt(machine.acquire(Order::MAX, DmaMask::BITS_32).unwrap()).unwrap();
    let mut back = None;
    assert_eq!(pool.stop(&mut |region| back = Some(region)).handed_back, Order::MAX.bytes());
    machine.release(back.unwrap()).unwrap();
}

#[test]
fn memory_that_is_not_aligned_to_its_size_is_no_segment() {
    let machine = FakeMachine::new(Frames { skew: 1, ..Frames::default() });
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let region = machine.acquire(order(3), DmaMask::BITS_32).unwrap();
    let Err(AdoptError::Misaligned(region)) = pool.adopt(region) else { panic!("it was taken") };
    machine.release(region).unwrap();
    let error = pool.grow(order(3), DmaMask::BITS_32).unwrap_err();
    assert!(matches!(error, GrowError::Acquire(AcquireError::Misplaced { .. })), "{error}");
    pool.grow(order(0), DmaMask::BITS_32).unwrap();
    assert_eq!(pool.stop(&mut drop).released, PAGE_SIZE);
    assert_eq!(machine.balance().out, 0);
}

#[test]
fn a_segment_holds_its_bytes_and_no_others() {
    let (bus, origin) = (BusAddr(0x3000), Origin::Started);
    let segment = SegmentInfo { bus, len: 0x2000, origin, in_use: 0 };
    assert!([0x3000, 0x4fff].into_iter().all(|at| segment.holds(BusAddr(at))));
    assert!(![0, 0x2fff, 0x5000, 0x30_0000].into_iter().any(|at| segment.holds(BusAddr(at))));
}
