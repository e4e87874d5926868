//! The guest's memory over a fake Xen: mapping, exchange, and everything back at the end.
// Miri takes an hour for so many pages, and nothing here touches memory by address.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod failures;
mod granted;
mod lies;

use pvbounce::{
    addr::{BusAddr, DmaMask, Mfn, PAGE_SIZE_U64, Pfn},
    mm::{
        contiguous::{AcquireError, ContiguousMemory, Order},
        granted::{Answer, Granted},
        memory::{Arrived, Memory, MemoryError, Unreturned},
        p2m::{P2m, PfnRange},
        page_table,
        pages::{DeviceMemory, LowPages, Pages},
        reserve::{Aside, Reserve},
        translate::{Place, Translate},
    },
    xen::{
        errno::XenError,
        hypercall::{
            MemoryCalls,
            fake::{FakeXen, Lie},
        },
    },
};
use std::{collections::BTreeSet, sync::atomic::AtomicU64};

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
    test(&xen, &Memory::fake(&xen, P2m::new(&entries), &[ALL]));
}

const ALL: PfnRange = PfnRange { start: Pfn(0), count: GUEST };

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

fn low() -> DmaMask {
    DmaMask::from_bits(LOW).unwrap()
}

/// Every PFN has a frame, and Xen's table agrees.
fn assert_tables_agree(xen: &FakeXen, memory: &Memory<'_>) {
    assert_eq!(memory.p2m().first_disagreement(ALL, xen), None);
}

/// No frame is free that isn't the guest's, is mapped, or is free twice.
fn assert_all_free_is_ours(xen: &FakeXen, memory: &Memory<'_>) {
    let mut seen = BTreeSet::new();
    memory.each_free(&mut |run| {
        for pfn in run.iter() {
            let mfn = memory.p2m().get(pfn).unwrap();
            assert!(
                xen.truth(mfn).ours && !xen.truth(mfn).mapped && seen.insert(mfn),
                "{pfn} is {mfn}"
            );
        }
    });
    assert_eq!(seen.len() as u64, memory.free_pages());
}

/// Makes the first free pages neighbours in the machine: those of a region that Xen did not take back.
fn free_neighbours(xen: &FakeXen, memory: &Memory<'_>) -> Pfn {
    let region = memory.acquire(order(4), low()).unwrap();
    let first = region.pfn();
    xen.fail_after_chunks(0);
    memory.release(region).unwrap_err();
    assert_tables_agree(xen, memory);
    first
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
fn what_others_left_in_frames_is_counted_and_gone() {
    with_guest(|xen, memory| {
        let come_and_go = || {
            let region = memory.acquire(order(4), low()).unwrap();
            let first = region.mfn();
            memory.release(region).unwrap();
            first
        };
        let first = come_and_go();
        assert_eq!(memory.arrived(), Arrived { frames: 16, soiled: 0 });
        // The same frames come again; what lies beside them and in pages never taken does not count.
        [0, 3, 15, 16].into_iter().for_each(|i| xen.soil(Mfn(first.0 + i)));
        assert_eq!(come_and_go(), first);
        assert_eq!(memory.arrived(), Arrived { frames: 32, soiled: 3 });
        come_and_go();
        assert_eq!(memory.arrived(), Arrived { frames: 48, soiled: 3 });
    });
}

#[test]
fn scattered_pages_have_no_machine_neighbours() {
    with_guest(|xen, memory| {
        free_neighbours(xen, memory);
        let pages = Pages::scattered(memory, 9).unwrap();
        let frames: Vec<_> = pages.run().iter().map(|pfn| memory.p2m().get(pfn).unwrap()).collect();
        assert!(frames.windows(2).all(|pair| pair[0].checked_add(1) != Some(pair[1])));
        assert_tables_agree(xen, memory);
        pages.close().unwrap();
        assert_eq!(xen.mapped(), 0);
    });
}

#[test]
fn two_pages_are_parted_with_a_third() {
    with_guest(|xen, memory| {
        free_neighbours(xen, memory);
        let pages = Pages::scattered(memory, 2).unwrap();
        let [first, second] = [0, 1].map(|nth| Pfn(pages.pfn().0 + nth));
        let frame = |pfn| memory.p2m().get(pfn).unwrap();
        assert_ne!(frame(first).checked_add(1), Some(frame(second)));
        assert_eq!(memory.free_pages() + memory.table_pages(), GUEST - 2);
    });
}

#[test]
fn pages_go_back_when_they_are_dropped_and_when_they_are_closed() {
    with_guest(|xen, memory| {
        let pages = Pages::new(memory, 3).unwrap();
        assert_eq!((memory.free_pages() + memory.table_pages(), xen.mapped()), (GUEST - 3, 3));
        drop(pages);
        assert_eq!((memory.free_pages() + memory.table_pages(), xen.mapped()), (GUEST, 0));
        let pages = Pages::new(memory, 3).unwrap();
        xen.fail_calls(0, 9);
        assert!(matches!(pages.close(), Err(MemoryError::StillMapped { .. })));
        assert_eq!(memory.free_pages() + memory.table_pages(), GUEST - 3, "Xen has them mapped");
    });
}

#[test]
fn a_name_that_xen_has_for_another_frame_is_told() {
    with_guest(|xen, memory| {
        let (pfn, other) = (Pfn(77), Pfn(3));
        let mfn = memory.p2m().get(pfn).unwrap();
        xen.plant_foreign(mfn, other);
        assert_eq!(memory.p2m().first_disagreement(ALL, xen), Some((pfn, mfn, Some(other))));
        let before = PfnRange { start: Pfn(0), count: pfn.0 };
        assert_eq!(memory.p2m().first_disagreement(before, xen), None);
    });
}

#[test]
fn asking_for_too_much_says_what_there_is() {
    with_guest(|_, memory| {
        let error = Pages::new(memory, GUEST + 1).unwrap_err();
        assert_eq!(
            error,
            MemoryError::NoFreePages { wanted: GUEST + 1, free: GUEST, longest: GUEST }
        );
        let held = Pages::new(memory, GUEST - 64).unwrap();
        assert_eq!(
            memory.acquire(order(6), low()).unwrap_err(),
            AcquireError::NoFreePages { pages: 64 }
        );
        held.close().unwrap();
    });
}

#[test]
fn no_low_memory_is_xens_enomem() {
    with_guest(|_, memory| {
        // 4 MiB lie below 2^22.
        let bits = 22;
        let mask = DmaMask::from_bits(bits).unwrap();
        let held = [(); 2].map(|()| memory.acquire(order(9), mask).unwrap());
        let free = memory.free_pages();
        let error = AcquireError::Refused { order: order(9), bits, error: XenError::NoMemory };
        assert_eq!(memory.acquire(order(9), mask).unwrap_err(), error);
        let wider = DmaMask::from_bits(bits + 1).unwrap();
        let answers = memory.try_exchanges(order(9), [mask, wider]).unwrap();
        assert_eq!(answers, Ok([Err(XenError::NoMemory), Ok(())]));
        assert_eq!(memory.free_pages(), free);
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
        // Not one page more on either side of what was set aside.
        assert_eq!(
            (0..GUEST).filter(|pfn| reserve.holds(Pfn(*pfn))).count() as u64,
            reserve.pages()
        );
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
    let entries = p2m_entries();
    let xen = FakeXen::new(MACHINE, &entries);
    let pieces = [0, 1024, 2048, 3072].map(|start| PfnRange { start: Pfn(start), count: 512 });
    let memory = Memory::fake(&xen, P2m::new(&entries), &pieces);
    let reserve = Reserve::new(&memory);
    let aside = reserve.set_aside(5 << 20).unwrap();
    assert_eq!(aside, Aside { bytes: 4 << 20, runs: 2 });
    assert_eq!(reserve.give_back().unwrap(), aside);
    assert_eq!(memory.free_pages(), 2048);
}

#[test]
fn low_pages_go_back_when_they_are_dropped() {
    with_guest(|xen, memory| {
        let mask = DmaMask::from_bits(24).unwrap();
        let free = || xen.free_below(Mfn(1 << (24 - 12)));
        let before = free();
        let pages = LowPages::new(memory, order(3), mask).unwrap();
        assert_eq!(free(), before - 8);
        drop(pages);
        assert_eq!(free(), before);
    });
}

#[test]
fn registers_are_mapped_while_half_of_the_free_pages_hold_their_tables() {
    for (free, fits) in [(8, true), (7, false)] {
        with_guest(|_, memory| {
            let mut taken = Vec::new();
            while memory.free_pages() > free {
                taken.push(Pages::new(memory, 1).unwrap());
            }
            let mapped = DeviceMemory::map(memory, BusAddr(0xfebf_1000), 16);
            assert_eq!(
                mapped.is_ok(),
                fits,
                "two tables, and two more for what is above: {free} free"
            );
            drop((mapped, taken));
        });
    }
}

#[test]
fn device_memory_is_neither_ours_nor_larger_than_the_window() {
    with_guest(|xen, memory| {
        let registers = BusAddr(0xfebf_1000);
        let own = memory.p2m().get(Pfn(9)).unwrap();
        let error = DeviceMemory::map(memory, own.addr(), 16).unwrap_err();
        assert_eq!(error, MemoryError::OwnRam(own));
        let below = BusAddr(own.addr().0 - 8);
        assert!(matches!(DeviceMemory::map(memory, below, 16), Err(MemoryError::OwnRam(_))));
        for len in [(1 << 38) + 1, 1 << 50, usize::MAX] {
            let error = DeviceMemory::map(memory, registers, len).unwrap_err();
            assert!(matches!(error, MemoryError::NoAddresses { .. }), "{len:#x}: {error}");
        }
        // There are addresses, but it would take the whole guest to make tables for them.
        let error = DeviceMemory::map(memory, registers, 1 << 37).unwrap_err();
        assert!(matches!(error, MemoryError::NoFreePages { .. }), "{error}");
        assert_eq!((memory.free_pages(), xen.calls()), (GUEST, 0));
        let before = xen.mapped();
        let mapped = DeviceMemory::map(memory, registers, 0x1001).unwrap();
        assert_eq!(xen.mapped(), before + 2);
        drop(mapped);
        assert_eq!(xen.mapped(), before);
    });
}
