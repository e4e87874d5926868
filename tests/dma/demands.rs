//! What a device demands of an address holds for every mapping, whatever the pool looks like; and what a plain
//! search over the free slots finds room for is served.

use super::*;
use proptest::prelude::*;

/// The buffers that can be mapped at once, and their size: what is mapped lies somewhere inside.
const BUFFERS: usize = 48;
const BUFFER: usize = 4 * PAGE_SIZE + 20_000;

#[derive(Clone, Copy, Debug)]
struct Request {
    limits: Limits,
    direction: u8,
    /// Of the buffer's address within a page.
    offset: usize,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Map(Request),
    End(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let exponents = (0..17u32, prop_oneof![Just(None), (8..17u32).prop_map(Some)], 0..14u32);
    let len = prop_oneof![
        1..2049usize,
        (1..9usize).prop_map(|pages| pages << 11),
        (1..5usize, 0..17usize).prop_map(|(pages, short)| (pages << 12) - short),
        1..20_000usize,
    ];
    let map = (exponents, 0..3u8, 0..PAGE_SIZE, len).prop_map(
        |((alignment, boundary, keep), direction, offset, len)| {
            let mut limits = Limits::new(DmaMask::BITS_32);
            // Most devices have at most one demand.
            limits.alignment = power(1 << alignment.saturating_sub(4));
            limits.boundary = boundary.map(|boundary| power(1 << boundary));
            limits.keep_offset = [1, 64, 4096].map(power)[keep.saturating_sub(11) as usize];
            Op::Map(Request { limits, direction, offset, len })
        },
    );
    prop_oneof![3 => map, 2 => any::<usize>().prop_map(Op::End)]
}

enum Held<'m> {
    To(Mapping<'m, ToDevice, &'m mut [u8]>),
    From(Mapping<'m, FromDevice, &'m mut [u8]>),
    Both(Mapping<'m, Bidirectional, &'m mut [u8]>),
}

/// A mapping and the slots it holds: the first one's address, and how many.
struct Live<'m> {
    held: Held<'m>,
    slots: (u64, usize),
}

impl<'m> Live<'m> {
    fn extent(&self) -> (u64, u64) {
        let (bus, len) = match &self.held {
            Held::To(mapping) => (mapping.bus(), mapping.len()),
            Held::From(mapping) => (mapping.bus(), mapping.len()),
            Held::Both(mapping) => (mapping.bus(), mapping.len()),
        };
        (bus.0, bus.0 + len as u64)
    }

    /// Every byte is written that the device may write.
    fn fill(&self, machine: &FakeMachine) {
        let (start, end) = self.extent();
        if !matches!(self.held, Held::To(_)) {
            let len = usize::try_from(end - start).unwrap();
            assert!(machine.bus_write(BusAddr(start), &vec![0xa5; len]));
        }
    }

    /// Ends the mapping: its guards hold, since only bytes of mappings were written.
    fn end(self) -> &'m mut [u8] {
        match self.held {
            Held::To(mapping) => mapping.finish(0).unwrap(),
            Held::From(mapping) => {
                let len = mapping.len();
                mapping.finish(len).unwrap()
            }
            Held::Both(mapping) => {
                let len = mapping.len();
                mapping.finish(len).unwrap()
            }
        }
    }
}

fn map<'m>(device: Device<'m>, direction: u8, buffer: &'m mut [u8]) -> Result<Held<'m>, MapError> {
    Ok(match direction {
        0 => Held::To(device.map(buffer)?),
        1 => Held::From(device.map(buffer)?),
        _ => Held::Both(device.map(buffer)?),
    })
}

fn segments(pool: &Pool<'_>) -> Vec<SegmentInfo> {
    let mut all = Vec::new();
    pool.for_each_segment(&mut |segment| all.push(segment));
    all
}

/// The alignment of the run that a mapping is in.
fn unit(limits: &Limits) -> u64 {
    limits.alignment.max(limits.keep_offset).bytes().max(SLOT_SIZE) as u64
}

/// The bytes of the run before a mapping without guards.
fn kept(request: &Request) -> usize {
    let Limits { keep_offset, alignment, .. } = request.limits;
    request.offset & keep_offset.low_bits() & !alignment.low_bits()
}

/// Whether a plain search finds room, by what each live mapping holds.
fn has_room(segments: &[SegmentInfo], live: &[Live<'_>], request: &Request) -> bool {
    let (head, len) = (kept(request) as u64, request.len as u64);
    let count = (head + len).div_ceil(SLOT_SIZE as u64);
    let is_free = |slot: u64| {
        !live.iter().any(|live| {
            let (start, count) = live.slots;
            (start..start + (count * SLOT_SIZE) as u64).contains(&slot)
        })
    };
    let crosses = |start: u64| {
        let (first, last) = (start + head, start + head + len - 1);
        request.limits.boundary.is_some_and(|b| first / b.bytes() as u64 != last / b.bytes() as u64)
    };
    segments.iter().any(|segment| {
        let end = segment.bus.0 + segment.len as u64;
        let mut run = 0;
        segment.slots().collect::<Vec<_>>().into_iter().rev().any(|BusAddr(start)| {
            run = if is_free(start) { run + 1 } else { 0 };
            // A segment counts as aligned to no more than its size.
            let aligned =
                start % unit(&request.limits) == 0 && unit(&request.limits) <= segment.len as u64;
            start < end && run >= count && aligned && !crosses(start)
        })
    })
}

/// A mapping is where the device demands, in slots of its own, and touches no other.
fn assert_met(request: &Request, new: &Live<'_>, live: &[Live<'_>], segments: &[SegmentInfo]) {
    let ((start, end), Limits { alignment, boundary, keep_offset, .. }) =
        (new.extent(), request.limits);
    assert_eq!(start % alignment.bytes() as u64, 0, "not aligned: {request:?}");
    if let Some(boundary) = boundary.map(|boundary| boundary.bytes() as u64) {
        assert_eq!(
            start / boundary,
            (end - 1) / boundary,
            "{start:#x}..{end:#x} crosses: {request:?}"
        );
    }
    if alignment.bytes() == 1 {
        let kept = |address: u64| address % keep_offset.bytes() as u64;
        assert_eq!(kept(start), kept(request.offset as u64), "offset not kept: {request:?}");
    }
    let slots_end = |(first, count): (u64, usize)| first + (count * SLOT_SIZE) as u64;
    assert!(new.slots.0 <= start && end <= slots_end(new.slots), "outside its slots");
    let inside = |s: &SegmentInfo| s.holds(BusAddr(start)) && s.holds(BusAddr(end - 1));
    assert!(segments.iter().any(inside), "outside the pool");
    for other in live {
        let apart = slots_end(new.slots) <= other.slots.0 || slots_end(other.slots) <= new.slots.0;
        assert!(apart, "two mappings share a slot");
    }
}

struct Test<'m> {
    machine: &'m FakeMachine,
    pool: &'m Pool<'m>,
    segments: Vec<SegmentInfo>,
    spare: Vec<&'m mut [u8]>,
    live: Vec<Live<'m>>,
}

impl Test<'_> {
    fn map(&mut self, mut request: Request) {
        let Some(buffer) = self.spare.pop() else { return };
        let before = self.pool.stats().in_use;
        let page = buffer.as_ptr().addr() % PAGE_SIZE;
        let skip = (request.offset + PAGE_SIZE - page) % PAGE_SIZE;
        let mapped = &mut buffer[skip..skip + request.len];
        request.offset = mapped.as_ptr().addr() % PAGE_SIZE;
        let device = Device::new(self.pool, self.machine, request.limits, Policy::Force);
        match map(device, request.direction, mapped) {
            Ok(held) => {
                let mut new = Live { held, slots: (0, self.pool.stats().in_use - before) };
                let start = new.extent().0;
                new.slots.0 = start - start % unit(&request.limits);
                assert_met(&request, &new, &self.live, &self.segments);
                self.live.push(new);
            }
            Err(MapError::Exhausted { .. }) => {
                assert!(!has_room(&self.segments, &self.live, &request), "room for {request:?}");
            }
            Err(MapError::TooLarge { .. }) => {
                let whole = kept(&request) + request.len;
                let room = request.limits.boundary.map_or(usize::MAX, PowerOfTwo::bytes);
                let largest = self.segments.iter().map(|segment| segment.len).max().unwrap();
                assert!(whole > room || whole > largest, "{request:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn run(plan: Plan, ops: &[Op]) {
    let machine = FakeMachine::default();
    let mut memory = vec![0; BUFFERS * BUFFER];
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&plan, &mut |_| {}).unwrap();
    let spare = memory.chunks_mut(BUFFER).collect();
    let segments = segments(&pool);
    let mut test = Test { machine: &machine, pool: &pool, segments, spare, live: Vec::new() };
    for op in ops {
        match *op {
            Op::Map(request) => test.map(request),
            Op::End(which) if !test.live.is_empty() => {
                let live = test.live.swap_remove(which % test.live.len());
                live.fill(&machine);
                live.end();
            }
            Op::End(_) => {}
        }
    }
    test.live.iter().for_each(|live| live.fill(&machine));
    for live in test.live {
        live.end();
    }
    assert!(pool.stats().is_balanced(), "{:?}", pool.stats());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

    #[test]
    fn every_mapping_meets_its_devices_demands_and_what_fits_is_served(
        pages in 1..64usize,
        max_order in 0..5u8,
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 120 }),
    ) {
        let plan = Plan { floor: PAGE_SIZE, max_order: order(max_order), ..Plan::new(pages * PAGE_SIZE) };
        run(plan, &ops);
    }
}

#[test]
fn a_guard_behind_a_boundary_pushes_no_mapping_over_it() {
    with_pool(Plan { floor: 4096, ..Plan::new(4 * PAGE_SIZE) }, |machine, pool| {
        let limits = Limits::new(DmaMask::BITS_32).within(power(4096));
        let device = Device::new(pool, machine, limits, Policy::Force);
        let shift = device.map::<ToDevice, _>(&[0][..]).unwrap();
        let pages = [(); 2].map(|()| device.map::<FromDevice, _>(vec![0; 4096]).unwrap());
        for page in pages {
            assert_eq!(page.bus().page_offset(), 0, "{}", page.bus());
            page.finish(0).unwrap();
        }
        shift.finish(0).unwrap();
    });
}

#[test]
fn without_a_boundary_a_run_needs_no_aligned_block() {
    with_pool(Plan { floor: 4096, ..Plan::new(8 * PAGE_SIZE) }, |machine, pool| {
        let device = forced(machine, pool);
        let mut ones: Vec<_> =
            (0..16).map(|_| device.map::<ToDevice, _>(&[0; 2048][..]).unwrap()).collect();
        ones.sort_by_key(|mapping| mapping.bus());
        // Slots 3..11 are free: eight, and no block of eight.
        for mapping in ones.drain(3..11) {
            mapping.finish(0).unwrap();
        }
        let eight = device.map::<FromDevice, _>(vec![0; 8 * SLOT_SIZE]).unwrap();
        assert_eq!(eight.bus().0, ones[2].bus().0 + 2048);
        eight.finish(0).unwrap();
        for mapping in ones {
            mapping.finish(0).unwrap();
        }
    });
}

#[test]
fn an_aimed_mapping_is_where_it_was_told_to_be() {
    let plan = Plan { max_order: order(2), floor: 4096, ..Plan::new(12 * PAGE_SIZE) };
    with_pool(plan, |machine, pool| {
        let device = forced(machine, pool);
        let segments = segments(pool);
        assert_eq!(segments.len(), 3);
        let slots: Vec<_> = segments.iter().flat_map(SegmentInfo::slots).collect();
        assert_eq!(slots.len(), 24);
        for &slot in &slots {
            assert!(pool.aim(slot));
            let out = device.map::<ToDevice, _>(&[1; 1514][..]).unwrap();
            assert_eq!(out.bus(), slot);
            assert!(!pool.aim(slot), "taken");
            let elsewhere = device.map::<ToDevice, _>(&[1; 1514][..]).unwrap();
            assert_ne!(elsewhere.bus(), slot);
            out.finish(0).unwrap();
            elsewhere.finish(0).unwrap();
            assert!(pool.aim(slot), "put aside or at hand is free");
            let back = device.map::<FromDevice, _>(vec![0; 1514]).unwrap();
            assert!((slot.0..slot.0 + 128).contains(&back.bus().0));
            back.finish(0).unwrap();
        }
        assert!(!pool.aim(BusAddr(0x1000)), "not in the pool");
        let last = slots[7];
        assert!(pool.aim(last));
        let two = device.map::<ToDevice, _>(&[0; 2049][..]).unwrap();
        assert_ne!(two.bus(), last, "two slots don't fit at a segment's end");
        two.finish(0).unwrap();
    });
}
