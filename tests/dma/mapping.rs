//! What becomes of the bytes: each way, in part, too many, outside.

use super::*;
use pvbounce::{
    dma::{Buffer, HalfPage, OwnedSlice},
    mm::{
        memory::Memory,
        p2m::{P2m, PfnRange},
    },
    xen::hypercall::fake::FakeXen,
};
use std::{ops::Deref, sync::atomic::AtomicU64};

#[test]
fn the_device_reads_below_4_gib_what_lies_above() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let mut nic = FakeDevice::new(machine, DmaMask::BITS_32);
        let frame: Vec<u8> = (0..=255).cycle().take(1514).collect();
        let mapping = auto(machine, pool).map::<ToDevice, _>(&frame[..]).unwrap();
        assert!(mapping.bounced());
        assert!(mapping.place().unwrap().bus.0 >= GIB_4);
        assert!(mapping.bus().0 + 1514 <= GIB_4);
        assert!(matches!(mapping.why(), Some(Why::OutOfMask { .. })));
        nic.allow(&mapping);
        let mut seen = [0; 1514];
        nic.read(mapping.bus(), &mut seen).unwrap();
        assert_eq!(seen[..], frame);
        assert!(matches!(nic.write(mapping.bus(), &[0]), Err(BusFault::NotMapped { .. })));
        mapping.finish(0).unwrap();
    });
}

#[test]
fn only_what_the_device_wrote_comes_back() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = forced(machine, pool);
        let secret = vec![0x5e; MIB / 2];
        device.map::<ToDevice, _>(&secret[..]).unwrap().finish(0).unwrap();
        let mut nic = FakeDevice::new(machine, DmaMask::BITS_32);
        let mapping = device.map::<FromDevice, _>(vec![0x11; 1500]).unwrap();
        nic.allow(&mapping);
        nic.write(mapping.bus(), &[0x22; 10]).unwrap();
        let buffer = mapping.finish(10).unwrap();
        assert_eq!(buffer[..10], [0x22; 10]);
        assert_eq!(buffer[10..], [0x11; 1490]);
        assert_eq!(pool.stats().bytes_from_device, 10);
    });
}

#[test]
fn whatever_holds_the_bytes_gets_those_that_the_device_wrote() {
    fn is_written<B: Buffer<FromDevice> + Deref<Target = [u8]>>(buffer: B) {
        with_pool(Plan::new(MIB), |machine, pool| {
            let mapping = forced(machine, pool).map::<FromDevice, _>(buffer).unwrap();
            assert!(machine.bus_write(mapping.bus(), &[0x22; 10]));
            let buffer = mapping.finish(10).unwrap();
            assert_eq!(
                buffer[..12],
                [0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0, 0]
            );
        });
    }
    is_written(vec![0; 64]);
    is_written(HalfPage::new());
    is_written(OwnedSlice::from(vec![0; 64]));
    is_written(&mut [0; 64][..]);
}

#[test]
fn an_abandoned_mapping_returns_its_slots_and_copies_nothing() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let mut buffer = [7; 100];
        let mapping = forced(machine, pool).map::<FromDevice, _>(&mut buffer[..]).unwrap();
        assert_eq!(pool.stats().in_use, 1);
        machine.bus_write(mapping.bus(), &[9; 100]);
        mapping.abandon();
        assert_eq!(pool.stats().in_use, 0);
        assert_eq!(buffer, [7; 100]);
        let back = forced(machine, pool).map::<Bidirectional, _>(vec![3; 5]).unwrap().abandon();
        assert_eq!(back, [3; 5]);
    });
}

#[test]
fn ranges_are_synced_each_way_by_themselves() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let mut mapping = forced(machine, pool).map::<Bidirectional, _>(vec![1; 3000]).unwrap();
        machine.bus_write(mapping.bus(), &[2; 3000]);
        mapping.sync_for_cpu(1000..2000);
        let buffer = mapping.buffer_mut().unwrap();
        assert!(buffer[..1000].iter().all(|&b| b == 1) && buffer[2000..].iter().all(|&b| b == 1));
        assert!(buffer[1000..2000].iter().all(|&b| b == 2));
        buffer.fill(3);
        mapping.sync_for_device(0..10);
        mapping.write(2990, &[4; 10]);
        let mut seen = [0; 3000];
        machine.bus_read(mapping.bus(), &mut seen);
        assert_eq!((seen[9], seen[10], seen[2989], seen[2990]), (3, 2, 2, 4));
        let mut part = [0; 2];
        mapping.read(2989, &mut part);
        assert_eq!(part, [2, 4]);
        assert_eq!(mapping.finish(3000).unwrap()[..10], [3; 10]);
    });
}

#[test]
#[should_panic(expected = "11 bytes at 0x5a of a mapping of 0x64")]
fn a_sync_past_the_end_panics() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let mapping = forced(machine, pool).map::<FromDevice, _>(vec![0; 100]).unwrap();
        mapping.read(90, &mut [0; 11]);
    });
}

#[test]
fn a_device_that_writes_outside_is_caught_to_the_byte() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = forced(machine, pool);
        for len in [1, 60, 1514, 2048, 4096, 65536_isize] {
            for offset in [-16, -1, len, len + 15] {
                let buffer = vec![0; len.unsigned_abs()];
                let mapping = device.map::<FromDevice, _>(buffer).unwrap();
                flip(machine, mapping.bus(), offset);
                let error = mapping.finish(len.unsigned_abs()).unwrap_err();
                assert_eq!(error.code(), "dma-overrun");
                assert!(
                    matches!(error, FinishError::Overrun { offset: at, .. } if at == offset),
                    "{error}"
                );
            }
        }
        assert_eq!(pool.stats().overruns, 24);
    });
}

#[test]
fn a_device_that_changes_the_same_bits_on_both_sides_is_caught() {
    with_pool(Plan::new(MIB), |machine, pool| {
        for lane in 0..8 {
            let mapping = forced(machine, pool).map::<FromDevice, _>(vec![0; 64]).unwrap();
            for outside in [lane - 16, lane - 8, 64 + lane, 72 + lane] {
                flip(machine, mapping.bus(), outside);
                assert!(mapping.check_guards().is_err(), "{lane}: {outside}");
            }
            assert_eq!(mapping.finish(64).unwrap_err().code(), "dma-overrun");
        }
    });
}

#[test]
fn whoever_plays_the_device_is_given_the_slots_from_the_byte_on_that_was_asked_for() {
    let entries: Vec<_> = (0..512).map(|_| AtomicU64::new(0)).collect();
    let xen = FakeXen::new(0x400, &entries);
    let own = PfnRange { start: Pfn(0), count: 512 };
    let memory = Memory::fake(&xen, P2m::new(&entries), &[own]);
    with_pool(Plan::new(MIB), |machine, pool| {
        let mapping = forced(machine, pool).map::<FromDevice, _>(vec![0; 10_000]).unwrap();
        let place = mapping.bus().page_offset();
        let pages = |offset: usize| {
            let seen = mapping.as_device(&memory, offset.cast_signed()).unwrap();
            let pages = xen.mapped();
            drop(seen);
            pages
        };
        let all = pages(0);
        for offset in [100, 3000, 6000, 9999] {
            assert_eq!(pages(offset), all - (place + offset) / PAGE_SIZE, "{offset}");
        }
        mapping.abandon();
    });
}

/// Changes the byte `offset` bytes from `bus`, as a device that was never let there.
fn flip(machine: &FakeMachine, bus: BusAddr, offset: isize) {
    let at = BusAddr(bus.0.checked_add_signed(offset as i64).unwrap());
    let mut byte = [0];
    assert!(machine.bus_read(at, &mut byte));
    let mut nic = FakeDevice::new(machine, DmaMask::BITS_32);
    nic.write_stray(at, &[!byte[0]]).unwrap();
}

#[test]
fn more_bytes_than_mapped_are_not_believed() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let mapping = forced(machine, pool).map::<FromDevice, _>(vec![0; 64]).unwrap();
        let error = mapping.finish(65).unwrap_err();
        assert!(matches!(error, FinishError::Overlong { written: 65, len: 64, .. }));
    });
}

#[test]
#[cfg_attr(miri, ignore = "16 MiB, byte by byte")]
fn sixteen_mib_go_in_one_mapping_and_come_back() {
    // Byte by byte that would take Miri an hour.
    const ALL: usize = if cfg!(miri) { MIB } else { 16 * MIB };
    with_pool(Plan::new(ALL), |machine, pool| {
        let device = forced(machine, pool);
        assert_eq!(device.max_mapping(), ALL);
        let pattern: Vec<u8> = (0..=250).cycle().take(ALL).collect();
        let mapping = device.map::<Bidirectional, _>(pattern.clone()).unwrap();
        assert_eq!(mapping.bus().0 % ALL as u64, 0);
        machine.bus_write(BusAddr(mapping.bus().0 + 5), &[1, 2, 3]);
        let back = mapping.finish(ALL).unwrap();
        assert_eq!((&back[..5], &back[5..8]), (&pattern[..5], &[1, 2, 3][..]));
        assert!(back[8..] == pattern[8..]);
        let (error, buffer) = device.try_map::<ToDevice, _>(vec![0; ALL + 1]).unwrap_err();
        assert_eq!(error, MapError::TooLarge { len: ALL + 1, limit: ALL });
        assert_eq!(buffer.len(), ALL + 1);
    });
}

#[test]
fn a_list_is_mapped_whole_or_not_at_all() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = forced(machine, pool);
        let list = device.map_list::<FromDevice, _>([vec![0; 100], vec![1; 3000], vec![2; 7]]);
        let list = list.unwrap();
        assert_eq!((list.len(), list.spans().len()), (3107, 3));
        for span in list.spans() {
            machine.bus_write(span.bus, &vec![9; span.len]);
        }
        let buffers = list.finish(150).unwrap();
        assert!(buffers[0].iter().all(|&b| b == 9));
        assert!(buffers[1][..50].iter().all(|&b| b == 9) && buffers[1][50..] == [1; 2950]);
        assert_eq!(buffers[2], [2; 7]);
        for (written, fits) in [(107, true), (108, false)] {
            let list = device.map_list::<FromDevice, _>([vec![0; 100], vec![2; 7]]).unwrap();
            for span in list.spans() {
                machine.bus_write(span.bus, &vec![9; span.len]);
            }
            assert_eq!(list.finish(written).is_ok(), fits, "{written} of 107");
        }
        let too_many = device.map_list::<ToDevice, _>([vec![0; MIB / 2], vec![0; MIB]]);
        assert!(matches!(too_many.unwrap_err(), MapError::Exhausted { .. }));
        assert_eq!((pool.stats().in_use, pool.stats().in_flight), (0, 0));
        let none: [Vec<u8>; 0] = [];
        assert_eq!(device.map_list::<ToDevice, _>(none).unwrap_err(), MapError::Empty);
    });
}
