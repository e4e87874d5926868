//! A Xen whose tables or answers lie: no frame becomes ours that is not.

use super::*;

#[test]
fn a_swap_that_xen_reports_as_failed_is_found_in_the_m2p() {
    with_guest(|xen, memory| {
        xen.lie(Lie::FailsAfterSwap);
        let region = memory.acquire(order(4), low()).unwrap();
        assert_tables_agree(xen, memory);
        memory.release(region).unwrap();
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
fn a_refused_exchange_is_none_though_another_domains_frame_has_our_name() {
    with_guest(|xen, memory| {
        // The word that Xen leaves untouched is the name: as a frame's number, it is somebody else's.
        for pfn in 0..64 {
            xen.plant_foreign(Mfn(pfn), Pfn(pfn));
        }
        xen.limit_order(3);
        let error = memory.acquire(order(4), low()).unwrap_err();
        assert!(matches!(error, AcquireError::Refused { .. }), "{error}");
        assert_all_free_is_ours(xen, memory);
        assert_eq!(memory.free_pages(), GUEST);
        assert_tables_agree(xen, memory);
    });
}

#[test]
fn a_refused_release_is_none_though_another_domains_frames_have_our_names() {
    with_guest(|xen, memory| {
        let region = memory.acquire(order(2), low()).unwrap();
        let run = PfnRange { start: region.pfn(), count: 4 };
        for pfn in run.iter() {
            xen.plant_foreign(Mfn(pfn.0), pfn);
        }
        xen.fail_calls(1, 1000);
        assert!(memory.release(region).is_err());
        xen.fail_calls(0, 0);
        assert_all_free_is_ours(xen, memory);
        assert!(
            run.iter().all(|pfn| memory.p2m().get(pfn) != Some(Mfn(pfn.0))),
            "a frame of another's"
        );
    });
}

#[test]
fn whatever_an_exchange_lies_about_no_foreign_frame_becomes_free() {
    for (lie, n) in Lie::ALL.into_iter().flat_map(|lie| [(lie, 0), (lie, 4)]) {
        with_guest(|xen, memory| acquire_over(lie, order(n), xen, memory));
        with_guest(|xen, memory| {
            xen.lie(lie);
            memory.try_exchanges(order(n), [low(), DmaMask::BITS_64]).ok();
            assert_all_free_is_ours(xen, memory);
        });
    }
}

fn acquire_over(lie: Lie, order: Order, xen: &FakeXen, memory: &Memory<'_>) {
    xen.lie(lie);
    if let Ok(region) = memory.acquire(order, low()) {
        assert!(low().covers(region.bus(), region.len()), "{lie:?}");
        let run = PfnRange { start: region.pfn(), count: order.pages() as u64 };
        assert!(run.iter().all(|pfn| xen.truth(memory.p2m().get(pfn).unwrap()).mapped), "{lie:?}");
        memory.release(region).unwrap();
    }
    assert_all_free_is_ours(xen, memory);
    // Life goes on.
    let next = memory.acquire(order, low()).unwrap();
    memory.release(next).unwrap();
}

#[test]
fn whatever_comes_back_for_a_region_is_free_only_if_it_is_ours() {
    for lie in Lie::ALL {
        with_guest(|xen, memory| {
            let region = memory.acquire(order(4), low()).unwrap();
            let reserve = Reserve::new(memory);
            reserve.set_aside(1 << 20).unwrap();
            let reserved = reserve.acquire(order(4), low()).unwrap();
            xen.lie(lie);
            let released = memory.release(region);
            xen.lie(lie);
            let also = reserve.release(reserved);
            assert_eq!(released.is_err(), also.is_err(), "{lie:?}");
            reserve.give_back().unwrap();
            if lie == Lie::ForeignByOurNames {
                // Only mapping them tells: they are free, and nobody can take them.
                assert!(Pages::new(memory, memory.free_pages()).is_err());
                return;
            }
            assert_all_free_is_ours(xen, memory);
        });
    }
}

#[test]
fn an_address_is_a_devices_only_if_both_tables_agree() {
    with_guest(|xen, memory| {
        let pages = Pages::new(memory, 2).unwrap();
        let at = |offset| {
            let virt = page_table::direct(pages.pfn()).unwrap() + offset;
            memory.place_of(std::ptr::without_provenance(usize::try_from(virt).unwrap()))
        };
        let mfn = pages.mfn().unwrap();
        let place = Place {
            phys: pages.pfn().addr().checked_add(5).unwrap(),
            bus: mfn.addr().checked_add(5).unwrap(),
        };
        assert_eq!(at(5), Some(place));
        xen.say(mfn, Pfn(pages.pfn().0 + 1));
        assert_eq!((at(5), at(PAGE_SIZE_U64).is_some()), (None, true));
        xen.say(mfn, pages.pfn());
        assert_eq!(at(5), Some(place));
    });
}
