//! Frames under names that the memory map reserves move to names that are RAM, and none is lost on the way.
// Miri takes hours for so many pages, and nothing here touches memory by address.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]
#![expect(unsafe_code, reason = "over a fake, pages are free by the test's word")]

mod names;

use proptest::prelude::*;
use pvbounce::{
    addr::{DmaMask, GIB_4, PAGE_SIZE_U64, Pfn, PhysAddr, to_usize},
    mm::{
        contiguous::{ContiguousMemory, Order},
        e820::Map,
        hole::{self, Hole, HoleError},
        memory::{Memory, MemoryError},
        p2m::{P2m, PfnRange},
        pages::Pages,
    },
    xen::{
        errno::XenError,
        hypercall::{MemoryCalls, fake::FakeXen},
    },
};
use std::sync::atomic::AtomicU64;

/// Pages of the guest: enough that a P2M beyond 4 GiB is worth its pages, few enough for many tests.
const GUEST: u64 = 160_000;
/// Where its hole starts in most tests.
const HOLE: u64 = 150_000;
/// Pages of a guest that has a hole of its own.
const LARGE: u64 = MIB_4 - 1024;
/// The name of the first page above 4 GiB.
const MIB_4: u64 = GIB_4 / PAGE_SIZE_U64;
/// Where the image and the like are.
const IN_USE: PfnRange = PfnRange { start: Pfn(256), count: 512 };
/// Where that starts.
const OWN: u64 = (3 << 30) / PAGE_SIZE_U64;

/// A machine with a guest in it, and the longest P2M that any test needs.
struct World {
    entries: Vec<AtomicU64>,
    xen: FakeXen,
    pages: u64,
}

fn run(start: u64, end: u64) -> PfnRange {
    PfnRange::between(Pfn(start), Pfn(end))
}

fn unused(memory: &Memory<'_>) -> [PfnRange; 2] {
    [run(0, IN_USE.start.0), run(IN_USE.end().0, memory.p2m().len())]
}

/// The map of most tests.
fn usual() -> Map {
    map(&[(0, HOLE, 1), (HOLE, MIB_4, 2), (MIB_4, MIB_4 + GUEST, 1)])
}

/// A map of `(first page, page after the last, type)`.
fn map(ranges: &[(u64, u64, u32)]) -> Map {
    let raw: Vec<_> = ranges
        .iter()
        .map(|&(start, end, kind)| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&(start * PAGE_SIZE_U64).to_le_bytes());
            bytes[8..16].copy_from_slice(&((end - start) * PAGE_SIZE_U64).to_le_bytes());
            bytes[16..].copy_from_slice(&kind.to_le_bytes());
            bytes
        })
        .collect();
    Map::from_raw(&raw).unwrap()
}

impl World {
    fn new() -> Self {
        Self::of(GUEST)
    }

    fn of(pages: u64) -> Self {
        let entries: Vec<_> = (0..MIB_4 + MIB_4 / 2).map(|_| AtomicU64::new(u64::MAX)).collect();
        let xen = FakeXen::new(pages + 4096, &entries[..to_usize(pages)]);
        Self { entries, xen, pages }
    }

    fn memory(&self) -> Memory<'_> {
        Memory::fake(&self.xen, P2m::new(&self.entries[..to_usize(self.pages)]), &[])
    }

    /// Makes the hole with a longer list that costs nothing.
    fn make<'w>(&'w self, memory: &mut Memory<'w>, map: &Map) -> Hole {
        let unused = unused(memory);
        let mut longer =
            |memory: &Memory<'w>, len| Ok(memory.p2m().lengthened(&self.entries[..to_usize(len)]));
        // SAFETY: a fake maps nothing, and the entries are the same.
        unsafe { hole::make(memory, map, unused, &mut longer) }
    }

    /// Each frame has one name; below `told` Xen's table has the same.
    fn assert_whole(&self, memory: &Memory<'_>) {
        let p2m = memory.p2m();
        let mut frames: Vec<_> = p2m.frames(run(0, p2m.len())).map(|(_, mfn)| mfn).collect();
        frames.sort_unstable();
        frames.dedup();
        assert_eq!(frames.len() as u64, self.pages);
        let told = memory.m2p_synced().min(Pfn(p2m.len()));
        assert_eq!(p2m.first_disagreement(run(0, told.0), &self.xen), None);
    }

    /// No name that the map gives to something else than RAM has a frame.
    fn assert_hollow(memory: &Memory<'_>, map: &Map) {
        let p2m = memory.p2m();
        let astray = map.gaps_in(run(0, p2m.len())).find_map(|gap| p2m.frames(gap).next());
        assert_eq!(astray, None);
    }
}

fn assert_all_free(world: &World, memory: &Memory<'_>) {
    assert_eq!(memory.free_pages() + memory.table_pages(), world.pages - IN_USE.count);
}

#[test]
fn a_flat_guest_beyond_3_gib_has_its_last_gib_above_4() {
    let world = World::of(LARGE);
    let mut memory = world.memory();
    let map = Map::flat(LARGE).with_hole();
    let hole = world.make(&mut memory, &map);
    let moved = LARGE - OWN;
    assert_eq!((hole.names, hole.moved, hole.to), (run(OWN, LARGE), moved, Pfn(MIB_4)));
    assert_eq!((hole.left, hole.in_use, hole.why), (0, 0, None));
    assert_eq!(
        hole.to_string(),
        format!("hole 0xc0000000-0xffbfffff made, {moved} pages moved to 0x100000000")
    );
    assert_eq!(memory.p2m().len(), MIB_4 + moved);
    World::assert_hollow(&memory, &map);
    assert_all_free(&world, &memory);
    world.assert_whole(&memory);
    assert_eq!(memory.sync_m2p(), Ok(moved));
    assert_eq!(memory.m2p_synced(), Pfn(memory.p2m().len()));
    world.assert_whole(&memory);
}

#[test]
fn nothing_moves_where_all_names_are_ram() {
    let world = World::new();
    let mut memory = world.memory();
    let map = map(&[(0, GUEST, 1), (GUEST, MIB_4, 2)]);
    let hole = world.make(&mut memory, &map);
    assert_eq!((hole.moved, hole.left, hole.in_use, hole.why), (0, 0, 0, None));
    assert_eq!(hole.to_string(), "no hole made");
    assert_eq!((memory.p2m().len(), world.xen.calls()), (GUEST, 0));
    assert_all_free(&world, &memory);
    assert_eq!(memory.sync_m2p(), Ok(0));
}

#[test]
fn several_holes_share_several_pieces_of_ram_above() {
    let world = World::new();
    let mut memory = world.memory();
    let (a, b) = (0x1000, 0x9000);
    let map = map(&[
        (0, a, 1),
        (a, a + 100, 2),
        (a + 100, b, 1),
        (b, b + 50, 5),
        (b + 50, GUEST, 1),
        (MIB_4, MIB_4 + 30, 1),
        (MIB_4 + 1000, MIB_4 + 1200, 1),
    ]);
    let hole = world.make(&mut memory, &map);
    assert_eq!((hole.moved, hole.left, hole.to), (150, 0, Pfn(MIB_4)));
    assert_eq!(hole.names, run(a, b + 50));
    assert_eq!(memory.p2m().len(), MIB_4 + 1000 + 120);
    World::assert_hollow(&memory, &map);
    assert_all_free(&world, &memory);
    world.assert_whole(&memory);
}

#[test]
fn frames_in_use_stay_and_are_reported() {
    let world = World::new();
    let mut memory = world.memory();
    let start = IN_USE.end().0 - 10;
    let map = map(&[(0, start, 1), (start, start + 30, 2), (start + 30, MIB_4 + 64, 1)]);
    let before = memory.p2m().get(Pfn(start));
    let hole = world.make(&mut memory, &map);
    assert_eq!((hole.moved, hole.left, hole.in_use), (20, 0, 10));
    assert!(hole.to_string().ends_with("; 10 pages in use lie in a hole"), "{hole}");
    assert_eq!(memory.p2m().get(Pfn(start)), before);
    assert_all_free(&world, &memory);
    world.assert_whole(&memory);
}

#[test]
fn without_names_above_frames_stay_unused_and_the_line_says_why() {
    let world = World::new();
    let mut memory = world.memory();
    let hole = world.make(&mut memory, &map(&[(0, HOLE, 1), (HOLE, MIB_4, 2)]));
    assert_eq!((hole.moved, hole.left), (0, GUEST - HOLE));
    assert_eq!(hole.why, Some(HoleError::NoRam(PhysAddr(GIB_4))));
    assert_eq!(memory.free_pages(), HOLE - IN_USE.count);
    assert_eq!(memory.p2m().len(), GUEST);
    world.assert_whole(&memory);

    // Names for some of them.
    let world = World::new();
    let mut memory = world.memory();
    let few = map(&[(0, HOLE, 1), (HOLE, MIB_4, 2), (MIB_4, MIB_4 + 77, 1)]);
    let hole = world.make(&mut memory, &few);
    assert_eq!((hole.moved, hole.left), (77, GUEST - HOLE - 77));
    assert_eq!(hole.why, Some(HoleError::NoRam(PhysAddr(GIB_4))));
    assert_eq!(memory.free_pages(), HOLE - IN_USE.count + 77);
    world.assert_whole(&memory);
}

#[test]
fn a_list_that_cannot_be_made_longer_moves_nothing() {
    let world = World::new();
    let mut memory = world.memory();
    let refused = MemoryError::Mapping { virt: 1, error: XenError::NoMemory };
    let (map, unused) = (usual(), unused(&memory));
    // SAFETY: a fake maps nothing.
    let hole = unsafe { hole::make(&mut memory, &map, unused, &mut |_, _| Err(refused)) };
    assert_eq!((hole.moved, hole.left), (0, GUEST - HOLE));
    assert_eq!(hole.why, Some(HoleError::Memory(refused)));
    world.assert_whole(&memory);
}

#[test]
fn refused_half_way_the_tables_are_true_as_far_as_they_go() {
    for after in [0, 1, 255, 256, 300] {
        let world = World::new();
        let mut memory = world.memory();
        world.make(&mut memory, &usual());
        world.xen.fail_after_updates(after);
        let pfn = Pfn(MIB_4 + after as u64);
        let error = XenError::Invalid;
        assert_eq!(memory.sync_m2p(), Err(MemoryError::Naming { pfn, error }));
        assert_eq!(memory.m2p_synced(), pfn);
        world.assert_whole(&memory);
        assert_all_free(&world, &memory);
        // Xen has come round.
        assert_eq!(memory.sync_m2p(), Ok(GUEST - HOLE));
        world.assert_whole(&memory);
    }
}

/// A guest with little but moved pages free.
fn with_moved_only(test: impl FnOnce(&World, &Memory<'_>)) {
    let world = World::new();
    let mut memory = world.memory();
    world.make(&mut memory, &usual());
    assert_eq!(memory.set_aside(HOLE - IN_USE.end().0), Ok(run(IN_USE.end().0, HOLE)));
    assert_eq!(memory.m2p_synced(), Pfn(MIB_4));
    test(&world, &memory);
}

#[test]
fn a_moved_page_has_its_name_when_it_is_taken() {
    with_moved_only(|world, memory| {
        let free = memory.free_pages();
        let taken = Pages::new(memory, 300).unwrap();
        assert!(taken.pfn() >= Pfn(MIB_4), "{taken:?}");
        assert!(taken.run().end() <= memory.m2p_synced());
        world.assert_whole(memory);
        taken.close().unwrap();
        let order = Order::new(9).unwrap();
        let region = memory.acquire(order, DmaMask::from_bits(24).unwrap()).unwrap();
        assert!(region.pfn() >= Pfn(MIB_4));
        world.assert_whole(memory);
        memory.release(region).unwrap();
        world.assert_whole(memory);
        assert_eq!(memory.free_pages() + memory.table_pages(), free);
    });
}

#[test]
fn what_is_withheld_is_nobody_s_until_it_is_free_again() {
    with_moved_only(|world, memory| {
        let free = memory.free_pages();
        let wanted = run(MIB_4, MIB_4 + 300);
        let withheld = memory.withhold(wanted).unwrap();
        assert_eq!((memory.free_pages(), memory.m2p_synced()), (free - 300, wanted.end()));
        let mut others = Vec::new();
        memory.each_free(&mut |run| others.push(run));
        assert!(others.iter().all(|run| run.end() <= Pfn(MIB_4) || run.start >= wanted.end()));
        assert!(memory.withhold(run(MIB_4 + 299, MIB_4 + 301)).is_none(), "one of them is taken");
        drop(withheld);
        assert_eq!(memory.free_pages(), free);
        world.xen.fail_calls(1, 1);
        let unnamed = memory.withhold(run(MIB_4 + 400, MIB_4 + 500));
        assert!(unnamed.is_none(), "Xen refused their names");
        assert_eq!((memory.free_pages(), world.xen.failed()), (free, 1));
    });
}

#[test]
fn whichever_call_fails_no_moved_page_is_lost() {
    let calls = (1..).take_while(|&first| lives_with_a_failure(first)).count();
    assert!(calls > 10, "only {calls} calls failed in turn");
}

/// Whether a call failed at all.
fn lives_with_a_failure(first: u64) -> bool {
    let mut failed = false;
    with_moved_only(|world, memory| {
        let free = memory.free_pages();
        world.xen.fail_calls(first, 1);
        if let Ok(taken) = Pages::new(memory, 600) {
            taken.close().ok();
        }
        if let Ok(region) = memory.acquire(Order::ZERO, DmaMask::from_bits(24).unwrap()) {
            memory.release(region).ok();
        }
        world.assert_whole(memory);
        let lost = free - memory.free_pages() - memory.table_pages();
        assert!(lost == 0 || world.xen.mapped() > 0, "call {first}: {lost} lost");
        failed = world.xen.failed() > 0;
    });
    failed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_map_leaves_each_frame_one_name(
        edges in prop::collection::vec((1u64..GUEST + 4096, 0u32..4), 0..24),
        above in prop::collection::vec((1u64..40_000, 0u32..4), 0..6),
    ) {
        let mut edges = edges;
        edges.sort_unstable();
        let mut start = 0;
        let mut ranges = vec![(0, 1, 1)];
        let above = above.iter().scan(MIB_4, |at, &(len, kind)| {
            *at += len;
            Some((*at, kind))
        });
        for (end, kind) in edges.into_iter().chain(above) {
            if end > start.max(1) {
                // No type is 0: such a range is not in the map at all.
                ranges.extend((kind > 0).then_some((start.max(1), end, kind.min(2))));
                start = end;
            }
        }
        let map = map(&ranges);
        let world = World::new();
        let mut memory = world.memory();
        let hole = world.make(&mut memory, &map);
        world.assert_whole(&memory);
        prop_assert_eq!(memory.free_pages() + hole.left, GUEST - IN_USE.count);
        prop_assert_eq!(hole.why.is_some(), hole.left > 0);
        let p2m = memory.p2m();
        let astray = map.gaps_in(run(0, p2m.len())).flat_map(|gap| p2m.frames(gap));
        prop_assert_eq!(astray.count() as u64, hole.left + hole.in_use);
        memory.each_free(&mut |free| assert_eq!(p2m.frames(free).count() as u64, free.count));
        prop_assert_eq!(memory.sync_m2p().unwrap(), hole.moved);
        world.assert_whole(&memory);
    }
}
