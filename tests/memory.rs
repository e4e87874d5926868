//! The guest's memory over a fake Xen: mapping, exchange, and everything back at the end.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use pvbounce::{
    addr::{DmaMask, Mfn, Pfn},
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order},
        memory::{Memory, MemoryError},
        p2m::{P2m, PfnRange},
        reserve::{Aside, Reserve},
    },
    xen::{
        errno::XenError,
        hypercall::{MemoryCalls, fake::FakeXen},
    },
};
use std::sync::atomic::AtomicU64;

/// 64 MiB of machine, 16 MiB of guest: low memory is free, the guest lies at the top.
const MACHINE: u64 = 16384;
const GUEST: u64 = 4096;
/// 2^24 bytes: the guest has nothing below that.
const LOW: u32 = 24;

fn p2m_entries() -> Vec<AtomicU64> {
    (0..GUEST).map(|_| AtomicU64::new(u64::MAX)).collect()
}

/// Runs `test` on a guest whose frames are all free.
fn with_guest(test: impl FnOnce(&FakeXen, &Memory<'_>)) {
    let entries = p2m_entries();
    let xen = FakeXen::new(MACHINE, &entries);
    let memory = Memory::new(&xen, P2m::new(&entries), xen.l4());
    memory.add_free(PfnRange { start: Pfn(0), count: GUEST }).unwrap();
    test(&xen, &memory);
}

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

fn low() -> DmaMask {
    DmaMask::from_bits(LOW).unwrap()
}

/// Every PFN has a frame, and Xen's table agrees.
fn assert_tables_agree(xen: &FakeXen, memory: &Memory<'_>) {
    let all = PfnRange { start: Pfn(0), count: GUEST };
    assert_eq!(memory.p2m().first_disagreement(all, xen), None);
}

#[test]
fn a_region_is_low_aligned_mapped_and_goes_back() {
    with_guest(|xen, memory| {
        let free_low = xen.free_below(Mfn(4096));
        let region = memory.acquire(order(9), low()).unwrap();
        assert!(low().covers(region.bus(), region.len()));
        assert!(region.mfn().0.is_multiple_of(512));
        assert_eq!(xen.mapped(), 512);
        assert_eq!(xen.free_below(Mfn(4096)), free_low - 512);
        assert_tables_agree(xen, memory);
        memory.release(region).unwrap();
        assert_eq!(xen.free_below(Mfn(4096)), free_low);
        assert_eq!(xen.mapped(), 0);
        assert_eq!(memory.free_pages() + memory.table_pages(), GUEST);
        assert_tables_agree(xen, memory);
    });
}

#[test]
fn an_order_above_the_limit_is_refused_with_xens_reason_and_costs_nothing() {
    with_guest(|xen, memory| {
        xen.limit_order(9);
        let error = memory.acquire(order(10), low()).unwrap_err();
        let refused =
            AcquireError::Refused { order: order(10), bits: LOW, error: XenError::NotPermitted };
        assert_eq!(error, refused);
        assert_eq!(memory.free_pages(), GUEST);
    });
}

#[test]
fn a_swap_that_xen_reports_as_failed_is_found_in_the_m2p() {
    with_guest(|xen, memory| {
        xen.lie_about_success();
        let region = memory.acquire(order(4), low()).unwrap();
        assert_tables_agree(xen, memory);
        memory.release(region).unwrap();
    });
}

#[test]
fn a_region_goes_back_in_pieces_when_its_order_is_not_permitted_any_more() {
    with_guest(|xen, memory| {
        let free_low = xen.free_below(Mfn(4096));
        let region = memory.acquire(order(11), low()).unwrap();
        xen.limit_order(9);
        memory.release(region).unwrap();
        assert_eq!(xen.free_below(Mfn(4096)), free_low);
        assert_tables_agree(xen, memory);
    });
}

#[test]
fn a_half_done_release_keeps_the_tables_true() {
    with_guest(|xen, memory| {
        let region = memory.acquire(order(4), low()).unwrap();
        xen.fail_after_chunks(5);
        assert_eq!(memory.release(region).unwrap_err().error, XenError::NoMemory);
        assert_tables_agree(xen, memory);
        assert_eq!(memory.free_pages() + memory.table_pages(), GUEST);
    });
}

/// Runs `act` on a guest again and again, with other calls failing each time: one, two or all from some call on.
fn with_failing_calls(act: impl Fn(&Memory<'_>)) {
    for (first, count) in (1..16).flat_map(|first| [1, 2, u64::MAX / 2].map(|count| (first, count)))
    {
        with_guest(|xen, memory| {
            let owned = xen.owned();
            xen.fail_calls(first, count);
            act(memory);
            assert_eq!(xen.owned(), owned, "{count} calls from {first}");
            assert_tables_agree(xen, memory);
            memory.each_free(&mut |run| {
                let mapped = run.iter().find(|pfn| xen.maps(memory.p2m().get(*pfn).unwrap()));
                assert_eq!(mapped, None, "{count} calls from {first}: free, yet mapped");
            });
            // Where the undoing fails too nobody knows what is mapped; else only what is may stay taken.
            let lost = GUEST - memory.free_pages() - memory.table_pages();
            assert!(lost == 0 || xen.mapped() > 0 || count > 1, "{count} calls from {first}");
        });
    }
}

/// Makes the first free pages neighbours in the machine: those of a region that Xen did not take back.
fn free_neighbours(xen: &FakeXen, memory: &Memory<'_>) {
    let region = memory.acquire(order(4), low()).unwrap();
    xen.fail_after_chunks(0);
    memory.release(region).unwrap_err();
    assert_tables_agree(xen, memory);
}

#[test]
fn names_that_were_swapped_in_half_are_swapped_back() {
    for updates in 0..4 {
        with_guest(|xen, memory| {
            free_neighbours(xen, memory);
            xen.fail_after_updates(updates);
            let error = memory.take_scattered(6).unwrap_err();
            assert!(matches!(error, MemoryError::Naming { .. }), "{updates}: {error}");
            assert_tables_agree(xen, memory);
            assert_eq!(memory.free_pages() + memory.table_pages(), GUEST);
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
fn whichever_calls_fail_no_page_is_lost() {
    with_failing_calls(|memory| {
        if let Ok(run) = memory.take(600) {
            memory.give(run).ok();
        }
    });
    with_failing_calls(|memory| {
        if let Ok(run) = memory.take_scattered(4) {
            memory.give(run).ok();
        }
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

#[test]
fn a_region_costs_a_call_to_trade_it_and_one_for_256_pages_to_map_them() {
    with_guest(|xen, memory| {
        let calls = |act: &mut dyn FnMut()| {
            let before = xen.calls();
            act();
            xen.calls() - before
        };
        let mut region = None;
        // 2048 pages; six tables, which take two calls each, are made once and stay.
        let first = calls(&mut || region = memory.acquire(order(11), low()).ok());
        assert_eq!(first, 1 + 8 + 2 * 6);
        assert_eq!(calls(&mut || memory.release(region.take().unwrap()).unwrap()), 1 + 8);
        assert_eq!(calls(&mut || region = memory.acquire(order(11), low()).ok()), 1 + 8);
        memory.release(region.take().unwrap()).unwrap();
    });
}

#[test]
fn scattered_pages_have_no_machine_neighbours() {
    with_guest(|xen, memory| {
        free_neighbours(xen, memory);
        let run = memory.take_scattered(9).unwrap();
        let frames: Vec<_> = run.iter().map(|pfn| memory.p2m().get(pfn).unwrap()).collect();
        assert!(frames.windows(2).all(|pair| pair[0].checked_add(1) != Some(pair[1])));
        assert_tables_agree(xen, memory);
        memory.give(run).unwrap();
        assert_eq!(xen.mapped(), 0);
    });
}

#[test]
fn a_foreign_frame_is_not_ours_whatever_the_m2p_says() {
    with_guest(|xen, memory| {
        xen.plant_foreign(Mfn(3), Pfn(10));
        assert_eq!(xen.m2p(Mfn(3)), Some(Pfn(10)));
        assert_eq!(memory.p2m().pfn_of(Mfn(3), xen), None);
        let own = memory.p2m().get(Pfn(10)).unwrap();
        assert_eq!(memory.p2m().pfn_of(own, xen), Some(Pfn(10)));
    });
}

#[test]
fn asking_for_too_much_says_what_there_is() {
    with_guest(|_, memory| {
        let error = memory.take(GUEST + 1).unwrap_err();
        assert_eq!(
            error,
            MemoryError::NoFreePages { wanted: GUEST + 1, free: GUEST, longest: GUEST }
        );
        let held = memory.take(GUEST - 64).unwrap();
        assert_eq!(
            memory.acquire(order(6), low()).unwrap_err(),
            AcquireError::NoFreePages { pages: 64 }
        );
        memory.give(held).unwrap();
    });
}

#[test]
fn no_low_memory_is_xens_enomem() {
    with_guest(|_, memory| {
        let mut held = Vec::new();
        let error = loop {
            match memory.acquire(order(9), low()) {
                Ok(region) => held.push(region),
                Err(error) => break error,
            }
        };
        let bits = LOW;
        // 16 MiB below 2^24, but the guest itself has only 4096 pages, some of them page tables.
        assert!(matches!(
            error,
            AcquireError::NoFreePages { .. }
                | AcquireError::Refused { error: XenError::NoMemory, .. }
        ));
        assert_eq!(held.len(), 7, "{bits} bits");
        for region in held {
            memory.release(region).unwrap();
        }
    });
}

#[test]
fn pages_set_aside_cost_xen_nothing_and_come_back_whole() {
    with_guest(|xen, memory| {
        let free_low = xen.free_below(Mfn(4096));
        let reserve = Reserve::new(memory);
        let aside = reserve.set_aside(4 << 20).unwrap();
        assert_eq!(aside, Aside { bytes: 4 << 20, runs: 1 });
        assert_eq!((memory.free_pages(), reserve.pages()), (GUEST - 1024, 1024));
        assert_eq!((xen.free_below(Mfn(4096)), xen.mapped()), (free_low, 0));
        assert_eq!(reserve.give_back().unwrap(), aside);
        assert_eq!((memory.free_pages(), reserve.pages()), (GUEST, 0));
    });
}

#[test]
fn regions_are_made_of_the_pages_set_aside_and_of_others_when_those_run_out() {
    with_guest(|xen, memory| {
        let reserve = Reserve::new(memory);
        reserve.set_aside(4 << 20).unwrap();
        let inside = [9, 9].map(|n| reserve.acquire(order(n), low()).unwrap());
        let outside = reserve.acquire(order(4), low()).unwrap();
        assert!(inside.iter().all(|region| reserve.holds(region.pfn())));
        assert!(!reserve.holds(outside.pfn()));
        assert_eq!(reserve.give_back().unwrap(), Aside::default(), "in use");
        for region in inside.into_iter().chain([outside]) {
            reserve.release(region).unwrap();
        }
        assert_eq!(reserve.give_back().unwrap().bytes, 4 << 20);
        assert_eq!(memory.free_pages() + memory.table_pages(), GUEST);
        assert_tables_agree(xen, memory);
    });
}

#[test]
fn a_refused_exchange_leaves_the_reserve_as_it_was() {
    with_guest(|xen, memory| {
        let reserve = Reserve::new(memory);
        let aside = reserve.set_aside(4 << 20).unwrap();
        xen.limit_order(3);
        reserve.acquire(order(9), low()).unwrap_err();
        assert_eq!(reserve.give_back().unwrap(), aside);
    });
}

#[test]
fn pages_in_pieces_are_set_aside_in_several_runs_and_half_is_left() {
    with_guest(|_, memory| {
        let all = memory.set_aside(GUEST).unwrap();
        for start in [0, 1024, 2048, 3072] {
            memory.add_free(PfnRange { start: Pfn(start), count: 512 }).unwrap();
        }
        let reserve = Reserve::new(memory);
        let aside = reserve.set_aside(5 << 20).unwrap();
        assert_eq!(aside, Aside { bytes: 4 << 20, runs: 2 });
        assert_eq!((all.count, reserve.give_back().unwrap()), (GUEST, aside));
        assert_eq!(memory.free_pages(), 2048);
    });
}
