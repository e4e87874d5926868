//! Direct or bounced: masks, straddles, foreign frames, alignment, boundaries, policies.

use super::*;

/// Pages at these frames, the guest's numbers counting up from 0x100.
fn pages(machine: &FakeMachine, mfns: &[u64]) -> &'static mut [u8] {
    let frames: Vec<_> = mfns.iter().zip(0x100..).map(|(&mfn, pfn)| (Pfn(pfn), Mfn(mfn))).collect();
    machine.buffer(&frames)
}

/// The same as pages of the guest's own.
fn own_pages(machine: &FakeMachine, mfns: &[u64]) -> FakePages {
    let frames: Vec<_> = mfns.iter().zip(0x200..).map(|(&mfn, pfn)| (Pfn(pfn), Mfn(mfn))).collect();
    machine.pages(&frames)
}

fn why(device: &Device<'_>, buffer: &[u8]) -> Option<Why> {
    let mapping = device.map::<ToDevice, _>(buffer).unwrap();
    let why = mapping.why();
    mapping.abandon();
    why
}

#[test]
fn what_the_device_can_use_goes_direct() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = auto(machine, pool);
        let buffer = own_pages(machine, &[0x4000, 0x4001, 0x4002]);
        let mapping = device.map::<FromDevice, _>(buffer).unwrap();
        assert!(!mapping.bounced());
        assert_eq!((mapping.bus(), mapping.len()), (BusAddr(0x400_0000), 3 * PAGE_SIZE));
        assert_eq!(mapping.place().unwrap().bus, mapping.bus());
        let mut nic = FakeDevice::new(machine, DmaMask::BITS_32);
        nic.allow(&mapping);
        nic.write(mapping.bus(), &[5; 8900]).unwrap();
        let mut two = [0; 3];
        mapping.read(8898, &mut two);
        assert_eq!(two, [5, 5, 0]);
        assert_eq!((pool.stats().direct, pool.stats().bounces, pool.stats().in_flight), (1, 0, 1));
        let buffer = mapping.finish(8900).unwrap();
        assert!(buffer[..8900].iter().all(|&b| b == 5) && buffer[8900..].iter().all(|&b| b == 0));
        assert!(why(&forced(machine, pool), &buffer) == Some(Why::Forced));
        let mut mapping = device.map::<Bidirectional, _>(buffer).unwrap();
        mapping.write(100, &[6; 2]);
        mapping.sync_for_device(0..200);
        mapping.sync_for_cpu(0..200);
        assert!(mapping.buffer_mut().is_none());
        mapping.check_guards().unwrap();
        let mut seen = [0; 3];
        assert!(machine.bus_read(BusAddr(mapping.bus().0 + 99), &mut seen));
        assert_eq!(seen, [5, 6, 6]);
        assert_eq!(mapping.abandon()[99..102], [5, 6, 6]);
    });
}

#[test]
fn a_device_writes_nothing_where_it_lies_that_a_forgotten_mapping_gives_back() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let buffer = pages(machine, &[0x4001]);
        let device = auto(machine, pool);
        for _ in 0..2 {
            let mapping = device.map::<FromDevice, _>(&mut buffer[..]).unwrap();
            assert_eq!(mapping.why(), Some(Why::Borrowed));
            let mapping = mapping.abandon();
            assert_eq!(device.map::<ToDevice, _>(mapping).unwrap().abandon()[0], 0);
        }
        assert_eq!(why(&device, buffer), None, "what a device only reads it reads in place");
        let direct = Device::new(pool, machine, *device.limits(), Policy::Direct);
        let error = direct.map::<Bidirectional, _>(&mut buffer[..]).unwrap_err();
        assert_eq!((error, error.code()), (MapError::DirectOnly(Why::Borrowed), "dma-borrowed"));
        let limits = device.limits().aligned_to(power(8192));
        let picky = Device::new(pool, machine, limits, Policy::Auto);
        let mapping = picky.map::<FromDevice, _>(&mut buffer[..]).unwrap();
        assert!(matches!(mapping.why(), Some(Why::Misaligned { .. })), "the first reason is told");
        mapping.abandon();
    });
}

#[test]
fn a_buffer_that_a_dropped_mapping_owned_is_never_freed_and_counted() {
    let machine = FakeMachine::default();
    let mut table = Box::new(Table::new());
    let pool = Pool::new(&mut table, &machine);
    let mapping = auto(&machine, &pool).map::<FromDevice, _>(own_pages(&machine, &[0x4000]));
    drop(mapping.unwrap());
    assert_eq!((pool.stats().in_flight, pool.stats().in_use), (1, 0));
    assert!(!pool.stats().is_balanced());
    assert_eq!(pool.stop(&mut drop).in_flight, 1);
}

#[test]
fn every_page_is_looked_at() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = auto(machine, pool);
        let straddling = pages(machine, &[0x5000, 0x5001, 0x6000]);
        assert_eq!(why(&device, &straddling[10..8192]), None);
        let (expected, found) = (BusAddr(0x500_2000), BusAddr(0x600_0000));
        let out_of_line = Why::NotContiguous { offset: 8182, expected, found };
        assert_eq!(why(&device, &straddling[10..8193]), Some(out_of_line));
        let above = pages(machine, &[0xf_ffff, 0x10_0000]);
        assert_eq!(why(&device, &above[..4096]), None);
        assert!(matches!(why(&device, above), Some(Why::OutOfMask { bus: BusAddr(GIB_4), .. })));
    });
}

#[test]
fn a_buffer_in_reach_may_still_lie_wrong() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let buffer = pages(machine, &[0x4fff, 0x5000]);
        let limits = Limits::new(DmaMask::BITS_32);
        let device = |limits| Device::new(pool, machine, limits, Policy::Auto);
        let aligned = device(limits.aligned_to(power(256)));
        assert_eq!(why(&aligned, &buffer[512..600]), None);
        assert!(matches!(why(&aligned, &buffer[4..600]), Some(Why::Misaligned { .. })));
        let bounded = device(limits.within(power(65536)));
        assert_eq!(why(&bounded, &buffer[..4096]), None);
        assert_eq!(why(&bounded, &buffer[4096..]), None);
        let crossing = why(&bounded, &buffer[4095..4097]);
        assert!(matches!(crossing, Some(Why::CrossesBoundary { len: 2, .. })), "{crossing:?}");
    });
}

#[test]
fn a_mapping_as_long_as_its_boundary_still_has_a_guard_behind_it() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let limits = Limits::new(DmaMask::BITS_32).within(power(2048));
        let device = Device::new(pool, machine, limits, Policy::Force);
        let mapping = device.map::<FromDevice, _>(vec![0; 2048]).unwrap();
        let behind = BusAddr(mapping.bus().0 + 2048);
        let mut byte = [0];
        assert!(machine.bus_read(behind, &mut byte) && machine.bus_write(behind, &[!byte[0]]));
        assert_eq!(mapping.finish(2048).unwrap_err().code(), "dma-overrun");
    });
}

#[test]
fn a_frame_that_m2p_calls_foreign_is_never_given_to_a_device() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let buffer = pages(machine, &[0x7000, 0x7001]);
        machine.plant_foreign(&raw const buffer[4096]);
        assert_eq!(why(&auto(machine, pool), &buffer[..4096]), None);
        let not_ram = Why::NotRam { offset: 4096 };
        assert_eq!(why(&auto(machine, pool), buffer), Some(not_ram));
        let direct = Device::new(pool, machine, Limits::new(DmaMask::BITS_64), Policy::Direct);
        let error = direct.map::<ToDevice, _>(&buffer[..]).unwrap_err();
        assert_eq!(error, MapError::DirectOnly(not_ram));
        assert_eq!(error.code(), "dma-not-ram");
    });
}

#[test]
fn the_guests_own_numbering_can_be_out_of_reach_too() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let buffer = machine.buffer(&[(Pfn(0x20_0000), Mfn(0x7100))]);
        assert_eq!(why(&auto(machine, pool), buffer), None);
        let limits = Limits { phys_mask: bits(32), ..Limits::new(DmaMask::BITS_32) };
        let device = Device::new(pool, machine, limits, Policy::Auto);
        assert!(matches!(why(&device, buffer), Some(Why::OutOfPhysMask { .. })));
    });
}

#[test]
fn policies_refuse_with_their_own_reasons() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = |policy| Device::new(pool, machine, Limits::new(DmaMask::BITS_32), policy);
        let code = |policy, buffer: &[u8]| {
            let mapping =
                device(policy).map::<ToDevice, _>(buffer).map_err(|error| error.code())?;
            mapping.abandon();
            Ok(())
        };
        let high = [0; 10];
        assert_eq!(code(Policy::Auto, &high), Ok(()));
        assert_eq!(code(Policy::Force, &high), Ok(()));
        assert_eq!(code(Policy::Direct, &high), Err("dma-out-of-mask"));
        assert_eq!(code(Policy::Refuse, &high), Err("dma-refused"));
        assert_eq!(code(Policy::Auto, &[]), Err("dma-empty"));
        assert_eq!(pool.stats().failures, 3);
    });
}

#[test]
fn alignment_boundary_and_offset_are_kept() {
    with_pool(Plan::new(4 * MIB), |machine, pool| {
        let base = Limits::new(DmaMask::BITS_32);
        let data = vec![0; 70_000];
        for alignment in [1, 4, 64, 256, 4096, 65536] {
            for boundary in [2048, 4096, 65536] {
                let limits = base.aligned_to(power(alignment)).within(power(boundary));
                meets(pool, machine, limits, boundary, &data);
            }
        }
        for start in [0, 1, 63, 64, 100, 4000, 4095] {
            let keeping = base.keeping_offset(power(4096));
            let device = Device::new(pool, machine, keeping, Policy::Force);
            let buffer = &data[start..start + 5000];
            let mapping = device.map::<ToDevice, _>(buffer).unwrap();
            assert_eq!(mapping.bus().page_offset(), buffer.as_ptr().addr() % PAGE_SIZE);
            mapping.finish(0).unwrap();
        }
    });
}

fn meets(pool: &Pool<'_>, machine: &FakeMachine, limits: Limits, boundary: usize, data: &[u8]) {
    for len in [1, 60, 1514, boundary - 64, boundary - 1, boundary] {
        stays_inside(pool, machine, limits, &data[..len]);
    }
    let device = Device::new(pool, machine, limits, Policy::Force);
    let len = boundary + 1;
    let error = device.map::<FromDevice, _>(vec![0; len]).unwrap_err();
    assert_eq!(error, MapError::TooLarge { len, limit: boundary });
}

fn stays_inside(pool: &Pool<'_>, machine: &FakeMachine, limits: Limits, data: &[u8]) {
    let device = Device::new(pool, machine, limits, Policy::Force);
    // One slot taken shifts what comes after it.
    let shift = device.map::<ToDevice, _>(&data[..1]).unwrap();
    let mapping = device.map::<FromDevice, _>(data.to_vec()).unwrap();
    let (bus, last) = (mapping.bus().0, mapping.bus().0 + data.len() as u64 - 1);
    assert_eq!(bus % limits.alignment.bytes() as u64, 0);
    let boundary = limits.boundary.unwrap().bytes() as u64;
    assert_eq!(bus / boundary, last / boundary, "{limits:?}, {} bytes", data.len());
    mapping.finish(0).unwrap();
    shift.finish(0).unwrap();
}

#[test]
fn nothing_is_longer_than_the_device_takes_bounced_or_not() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let buffer = pages(machine, &[0x5000, 0x5001]);
        let limits = Limits { max_len: 5000, ..Limits::new(DmaMask::BITS_32) };
        for policy in [Policy::Auto, Policy::Force] {
            let device = Device::new(pool, machine, limits, policy);
            device.map::<ToDevice, _>(&buffer[..5000]).unwrap().abandon();
            let error = device.map::<ToDevice, _>(&buffer[..5001]).unwrap_err();
            assert_eq!(error, MapError::TooLarge { len: 5001, limit: 5000 }, "{policy:?}");
            assert_eq!(device.map::<ToDevice, _>(&buffer[..0]).unwrap_err(), MapError::Empty);
        }
    });
}

#[test]
fn buffers_that_touch_on_the_bus_are_one_span() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let buffer = pages(machine, &[0x5000, 0x5001, 0x6000]);
        let parts = [&buffer[..100], &buffer[100..8192], &buffer[8192..]];
        let list = auto(machine, pool).map_list::<ToDevice, _>(parts).unwrap();
        let spans = list.spans().into_iter().map(|span| (span.bus.0, span.len));
        assert_eq!(spans.collect::<Vec<_>>(), [(0x500_0000, 8192), (0x600_0000, 4096)]);
        let lens: Vec<_> = list.parts().iter().map(Mapping::len).collect();
        assert_eq!((list.len(), lens), (3 * PAGE_SIZE, vec![100, 8092, PAGE_SIZE]));
        list.abandon();
    });
}

/// A translation that moves bytes within their page, in one of the two numberings.
struct Skewed<'m>(&'m FakeMachine, bool);

impl Translate for Skewed<'_> {
    fn place_of(&self, address: *const u8) -> Option<Place> {
        let place = self.0.place_of(address)?;
        let (bus, phys) = (BusAddr(place.bus.0 + 1), PhysAddr(place.phys.0 + 1));
        Some(if self.1 { Place { bus, ..place } } else { Place { phys, ..place } })
    }
}

#[test]
fn a_translation_that_moves_bytes_within_their_page_is_not_believed() {
    let machine = FakeMachine::default();
    let buffer = pages(&machine, &[0x5000]);
    let limits = Limits::new(DmaMask::BITS_32);
    assert!(dma_capable(&machine, buffer, &limits).is_ok());
    for of_the_bus in [true, false] {
        let found = dma_capable(&Skewed(&machine, of_the_bus), buffer, &limits);
        assert_eq!(found, Err(Why::NotRam { offset: 0 }), "{of_the_bus}");
    }
}
