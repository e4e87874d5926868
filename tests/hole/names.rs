//! Where the names of moved pages may lie, and how Xen is told of them.

use super::*;

#[test]
fn names_too_far_up_or_beyond_the_direct_map_are_not_used() {
    for (start, end) in [(MIB_4 * 32, MIB_4 * 33), (u64::MAX >> 13, u64::MAX >> 12)] {
        let world = World::new();
        let mut memory = world.memory();
        let hole = world.make(&mut memory, &map(&[(0, HOLE, 1), (start, end, 1)]));
        assert_eq!((hole.moved, hole.left), (0, GUEST - HOLE));
        assert!(matches!(hole.why, Some(HoleError::TooFar { .. } | HoleError::NoRam(_))));
        assert_eq!(memory.free_pages(), HOLE - IN_USE.count);
        world.assert_whole(&memory);
    }
}

#[test]
fn names_may_lie_as_far_up_as_a_share_of_memory_pays_for_and_no_further() {
    const ENTRIES: u64 = PAGE_SIZE_U64 / 8;
    let why = |start: u64| {
        let world = World::new();
        let mut memory = world.memory();
        let above = map(&[(0, HOLE, 1), (start, start + GUEST, 1)]);
        world.make(&mut memory, &above).why
    };
    // Of the pages that are free once the hole is made, and of a list that ends with the last page moved.
    let pages = (HOLE - IN_USE.count) / 64;
    let start = GUEST + pages * ENTRIES - (GUEST - HOLE);
    assert_eq!(why(start), None);
    let far = why(start + 1);
    assert!(
        matches!(far, Some(HoleError::TooFar { pages: more, .. }) if more == pages + 1),
        "{far:?}"
    );
}

#[test]
fn names_are_told_256_at_a_time_and_those_without_a_frame_not_at_all() {
    let world = World::new();
    let mut memory = world.memory();
    let (few, more) = (MIB_4 + 77, MIB_4 + 2048);
    let apart = map(&[(0, HOLE, 1), (HOLE, MIB_4, 2), (MIB_4, few, 1), (more, more + 300, 1)]);
    assert_eq!(world.make(&mut memory, &apart).moved, 377);
    let before = world.xen.calls();
    assert_eq!(memory.sync_m2p().unwrap(), 377);
    assert_eq!(world.xen.calls() - before, 3);
    world.assert_whole(&memory);
}
