//! A pool that is full, or nearly, and one that is not there: what still goes, and what the counters tell.

use super::*;

#[test]
fn a_full_pool_grows_if_told_to_and_shrinks_when_idle() {
    let plan = Plan::new(MIB);
    with_pool(plan, |machine, pool| {
        let device = forced(machine, pool);
        let full = device.map::<ToDevice, _>(vec![0; MIB]).unwrap();
        let error = device.map::<ToDevice, _>(vec![0; 10]).unwrap_err();
        assert_eq!(error, MapError::Exhausted { wanted: 1, free: 0, largest: 0 });
        full.abandon();
        let half = device.map::<ToDevice, _>(vec![0; MIB / 2]).unwrap();
        let error = device.map::<ToDevice, _>(vec![0; MIB]).unwrap_err();
        assert_eq!(error, MapError::Exhausted { wanted: 512, free: 256, largest: 256 });
        half.abandon();
    });
    with_pool(plan.growing_by(order(9)), |machine, pool| {
        let device = forced(machine, pool);
        let full = device.map::<ToDevice, _>(vec![0; MIB]).unwrap();
        let more = device.map::<FromDevice, _>(vec![0; 3 * MIB]).unwrap();
        assert_eq!((pool.stats().bytes, pool.stats().grown), (5 * MIB, 1));
        assert_eq!(pool.shrink(), 0, "in use");
        more.abandon();
        assert_eq!(pool.shrink(), 4 * MIB);
        for small in [2, 3] {
            pool.grow(order(small), DmaMask::BITS_32).unwrap();
        }
        assert_eq!(pool.shrink(), (4 + 8) * PAGE_SIZE);
        let stats = pool.stats();
        assert_eq!((stats.bytes, stats.grown, stats.shrunk), (MIB, 3, 3));
        assert_eq!((stats.segments, stats.slots), (1, MIB / SLOT_SIZE));
        assert_eq!((stats.acquired, stats.released), (4, 3));
        full.abandon();
    });
}

#[test]
fn what_is_free_is_told_of_what_the_device_can_reach() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let high = DmaMask::BITS_64;
        while pool.stats().segments < 3 {
            pool.grow(order(8), high).unwrap();
        }
        let full = auto(machine, pool).map::<ToDevice, _>(vec![0; MIB]).unwrap();
        let error = forced(machine, pool).map::<ToDevice, _>(vec![0; 10]).unwrap_err();
        let low = pool.stats().slots;
        assert!(
            matches!(error, MapError::Exhausted { free: 0, largest: 0, .. }),
            "{error:?}, {low}"
        );
        full.abandon();
    });
}

#[test]
fn what_is_free_is_told_of_each_segment_in_reach() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = forced(machine, pool);
        let first = device.map::<ToDevice, _>(vec![0; MIB]).unwrap();
        pool.grow(order(8), DmaMask::BITS_32).unwrap();
        let second = device.map::<ToDevice, _>(vec![0; MIB / 2]).unwrap();
        let error = device.map::<ToDevice, _>(vec![0; MIB]).unwrap_err();
        assert_eq!(error, MapError::Exhausted { wanted: 512, free: 256, largest: 256 });
        first.abandon();
        second.abandon();
    });
}

#[test]
fn a_pool_grows_by_less_than_it_would_where_xen_permits_no_more() {
    let machine = FakeMachine::new(Frames { order_limit: order(4), ..Frames::default() });
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    pool.start(&Plan::new(MIB).growing_by(order(9)), &mut |_| {}).unwrap();
    let device = forced(&machine, &pool);
    let full = [0; 16].map(|_| device.map::<ToDevice, _>(vec![0; 16 * PAGE_SIZE]).unwrap());
    let more = device.map::<ToDevice, _>(vec![0; 5 * PAGE_SIZE]).unwrap();
    assert_eq!((pool.stats().bytes, pool.stats().grown), (MIB + 16 * PAGE_SIZE, 1));
    device.map::<ToDevice, _>(vec![0; 16 * PAGE_SIZE]).unwrap().abandon();
    assert_eq!(pool.stats().grown, 2, "by one of its own size");
    more.abandon();
    full.into_iter().for_each(|mapping| drop(mapping.abandon()));
}

#[test]
fn what_a_full_pool_gave_out_once_it_can_give_out_again() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = forced(machine, pool);
        let nine = || device.map::<ToDevice, _>(vec![0; 9 * SLOT_SIZE]);
        // Cut from blocks of sixteen of which the rest is in use when they come back.
        let nines = [nine(), nine(), nine(), nine()].map(Result::unwrap);
        let rest: Vec<_> =
            std::iter::from_fn(|| device.map::<ToDevice, _>(vec![0; 1]).ok()).collect();
        assert_eq!(pool.stats().in_use, 512);
        nines.into_iter().for_each(|mapping| drop(mapping.abandon()));
        let again = [nine(), nine(), nine(), nine()].map(Result::unwrap);
        assert!(matches!(nine().unwrap_err(), MapError::Exhausted { free: 0, .. }));
        again.into_iter().chain(rest).for_each(|mapping| drop(mapping.abandon()));
    });
}

#[test]
fn a_wide_device_leaves_low_segments_to_those_that_need_them() {
    let low = Plan { mask: bits(24), ..Plan::new(MIB) };
    with_pool(low, |machine, pool| {
        pool.grow(order(8), DmaMask::BITS_32).unwrap();
        let device = |width| Device::new(pool, machine, Limits::new(bits(width)), Policy::Force);
        for (width, needs_low) in [(32, false), (64, false), (24, true)] {
            let mapping = device(width).map::<ToDevice, _>(vec![0; 5000]).unwrap();
            assert_eq!(bits(24).covers(mapping.bus(), 5000), needs_low, "{width} bits");
            mapping.abandon();
        }
        assert_eq!(pool.shrink(), MIB);
    });
}

#[test]
fn narrow_devices_get_segments_of_their_own_width() {
    let limits = |width| Limits::new(bits(width));
    with_pool(Plan::new(4 * MIB), |machine, pool| {
        let narrow = Device::new(pool, machine, limits(24), Policy::Auto);
        let error = narrow.map::<ToDevice, _>(&[0; 10][..]).unwrap_err();
        assert!(matches!(error, MapError::OutOfMask { mask, .. } if mask == bits(24)), "{error}");
        assert_eq!(narrow.max_mapping(), 0);
    });
    with_pool(Plan::new(4 * MIB).growing_by(order(8)), |machine, pool| {
        let mut held = Vec::new();
        for width in [32, 28, 24] {
            let device = Device::new(pool, machine, limits(width), Policy::Auto);
            let mapping = device.map::<ToDevice, _>(&[0; 5000][..]).unwrap();
            assert!(bits(width).covers(mapping.bus(), 5000), "{width}: {}", mapping.bus());
            let spared = [24, 28, 30].into_iter().filter(|&spared| spared < width);
            let used = spared.filter(|&spared| bits(spared).covers(mapping.bus(), 5000));
            assert_eq!(used.count(), 0, "a {width}-bit device took lower memory");
            held.push(mapping);
        }
        assert_eq!(pool.stats().segments, 3);
        let wide = Device::new(pool, machine, limits(64), Policy::Force);
        let all: Vec<_> =
            (0..).map_while(|_| wide.map::<ToDevice, _>(vec![0; MIB]).ok()).take(4).collect();
        assert!(all.iter().all(|mapping| !bits(30).covers(mapping.bus(), MIB)));
        all.into_iter().for_each(|mapping| drop(mapping.abandon()));
        for mapping in held {
            mapping.abandon();
        }
    });
}

#[test]
fn without_a_pool_only_what_goes_direct_works() {
    let machine = FakeMachine::default();
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let device = auto(&machine, &pool);
    let low = machine.buffer(&[(Pfn(5), Mfn(0x5000))]);
    let mapping = device.map::<ToDevice, _>(&low[..]).unwrap();
    assert!(!mapping.bounced());
    mapping.abandon();
    let error = device.map::<ToDevice, _>(&[0; 10][..]).unwrap_err();
    assert!(matches!(error, MapError::NoPool(Why::OutOfMask { .. })));
    assert_eq!((device.max_mapping(), error.code()), (0, "dma-no-pool"));
    assert_eq!(pool.stats().maps, 1);
}

#[test]
fn the_counters_tell_what_happened() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = forced(machine, pool);
        let three = device.map::<ToDevice, _>(vec![0; 5000]).unwrap();
        device.map::<FromDevice, _>(vec![0; 100]).unwrap().finish(7).unwrap();
        three.abandon();
        device.map::<Bidirectional, _>(vec![0; 10]).unwrap().finish(10).unwrap();
        let stats = pool.stats();
        assert_eq!((stats.segments, stats.bytes, stats.slots), (1, MIB, 512));
        assert_eq!((stats.in_use, stats.high_water, stats.low_water), (0, 4, 508));
        assert_eq!((stats.maps, stats.bounces, stats.direct, stats.failures), (3, 3, 0, 0));
        assert_eq!((stats.bytes_to_device, stats.bytes_from_device), (5010, 17));
    });
}

#[test]
fn a_pool_too_full_for_guards_maps_without() {
    with_pool(Plan { floor: 4096, ..Plan::new(4096) }, |machine, pool| {
        let device = forced(machine, pool);
        let mapping = device.map::<FromDevice, _>(vec![0; 2 * SLOT_SIZE]).unwrap();
        machine.bus_write(mapping.bus(), &[8; 2 * SLOT_SIZE]);
        assert_eq!(mapping.finish(2 * SLOT_SIZE).unwrap(), [8; 2 * SLOT_SIZE]);
    });
}
