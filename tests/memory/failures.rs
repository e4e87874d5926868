//! Each hypercall made to fail in turn: nothing is lost, and the tables stay true.

use super::*;

/// Runs `act` on a guest again and again, with other calls failing each time: one, two or all from some call on, up
/// to the last that it makes.
fn with_failing_calls(act: impl Fn(&Memory<'_>)) {
    for count in [1, 2, u64::MAX / 2] {
        let failing = (1..).take_while(|&first| lives_with_failures(first, count, &act)).count();
        with_guest(|xen, memory| {
            act(memory);
            assert!(xen.calls() > 1);
            assert_eq!(xen.calls(), failing as u64, "calls that failed in turn");
        });
    }
}

/// Whether any call failed.
fn lives_with_failures(first: u64, count: u64, act: &impl Fn(&Memory<'_>)) -> bool {
    let mut failed = false;
    with_guest(|xen, memory| {
        let owned = xen.owned();
        xen.fail_calls(first, count);
        act(memory);
        assert_eq!(xen.owned(), owned, "{count} calls from {first}");
        assert_tables_agree(xen, memory);
        assert_all_free_is_ours(xen, memory);
        // Where the undoing fails too nobody knows what is mapped; else only what is may stay taken.
        let lost = GUEST - memory.free_pages() - memory.table_pages();
        assert!(lost == 0 || xen.mapped() > 0 || count > 1, "{count} calls from {first}");
        failed = xen.failed() > 0;
    });
    failed
}

#[test]
fn names_that_were_swapped_in_half_are_swapped_back() {
    for updates in 0..4 {
        with_guest(|xen, memory| {
            free_neighbours(xen, memory);
            xen.fail_after_updates(updates);
            let error = Pages::scattered(memory, 6).unwrap_err();
            assert!(matches!(error, MemoryError::Naming { .. }), "{updates}: {error}");
            assert_tables_agree(xen, memory);
            assert_eq!(memory.free_pages() + memory.table_pages(), GUEST);
        });
    }
}

#[test]
fn a_frame_that_is_anothers_leaves_those_it_was_to_swap_with_their_names() {
    for stolen in [1, 2] {
        with_guest(|xen, memory| {
            let pfn = Pfn(free_neighbours(xen, memory).0 + stolen);
            xen.plant_foreign(memory.p2m().get(pfn).unwrap(), pfn);
            let error = Pages::scattered(memory, 6).unwrap_err();
            assert!(matches!(error, MemoryError::Naming { .. }), "{pfn}: {error}");
            assert_tables_agree(xen, memory);
        });
    }
}

#[test]
fn whichever_calls_fail_no_region_is_lost() {
    with_failing_calls(|memory| {
        if let Ok(region) = memory.acquire(order(9), low()) {
            memory.release(region).ok();
        }
    });
}

#[test]
fn what_xen_will_not_take_back_is_counted_where_no_frame_is_missing() {
    with_guest(|xen, memory| {
        let region = memory.acquire(order(4), low()).unwrap();
        // Unmapped, and then not traded: the frames are free, and low.
        xen.fail_calls(2, 1);
        memory.release(region).unwrap_err();
        assert_eq!(memory.unreturned(), Unreturned { regions: 1, mapped: 0 });
        let registers = DeviceMemory::map(memory, BusAddr(0xfebf_1000), 3 << 12).unwrap();
        let before = xen.mapped();
        xen.fail_calls(2, 1);
        drop(registers);
        assert_eq!(xen.mapped(), before - 2, "the page after the one that was refused goes, too");
        let unreturned = memory.unreturned();
        assert_eq!(unreturned, Unreturned { regions: 1, mapped: 1 });
        assert!(unreturned.says().unwrap().starts_with("1 regions of low memory kept, 1 pages"));
        assert_eq!(memory.free_pages() + memory.table_pages(), GUEST);
    });
}

#[test]
fn whichever_calls_fail_no_page_is_lost() {
    with_failing_calls(|memory| {
        if let Ok(pages) = Pages::new(memory, 600) {
            pages.close().ok();
        }
    });
    with_failing_calls(|memory| {
        if let Ok(pages) = Pages::scattered(memory, 4) {
            pages.close().ok();
        }
    });
    with_failing_calls(|memory| {
        memory.try_exchanges(order(4), [low(), DmaMask::BITS_64]).ok();
    });
}

#[test]
fn whichever_calls_fail_no_reserved_page_is_lost() {
    with_failing_calls(|memory| {
        let reserve = Reserve::new(memory);
        reserve.set_aside(4 << 20).unwrap();
        if let Ok(region) = reserve.acquire(order(9), low()) {
            reserve.release(region).ok();
        }
        reserve.give_back().unwrap();
    });
}
