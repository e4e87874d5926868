//! Ring memory: zeroed, low, shared, given back.

use super::*;

#[test]
fn ring_memory_is_zeroed_low_and_seen_by_both_sides() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = forced(machine, pool);
        device.map::<ToDevice, _>(vec![0xff; MIB]).unwrap().finish(0).unwrap();
        let mut ring = device.coherent(10_000).unwrap();
        assert!(ring.from_pool() && ring.bus().page_offset() == 0 && ring.len() == 10_000);
        let mut all = [1; 10_000];
        ring.read(0, &mut all);
        assert_eq!(all, [0; 10_000]);
        let mut nic = FakeDevice::new(machine, DmaMask::BITS_32);
        nic.allow_coherent(&ring);
        ring.write_u32(8, 0x1234_5678);
        let mut seen = [0; 4];
        nic.read(BusAddr(ring.bus().0 + 8), &mut seen).unwrap();
        assert_eq!(seen, [0x78, 0x56, 0x34, 0x12]);
        nic.write(BusAddr(ring.bus().0 + 16), &[1, 0, 0, 0, 0, 0, 0, 0x80]).unwrap();
        assert_eq!(ring.read_u64(16), 0x8000_0000_0000_0001);
        ring.write(9_999, &[7]);
        assert_eq!(ring.read_u8(9_999), 7);
        ring.close().unwrap();
    });
}

#[test]
fn without_room_in_the_pool_it_is_traded_for_and_back() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let device = Device::new(pool, machine, Limits::new(bits(28)), Policy::Auto);
        let ring = device.coherent(5 * PAGE_SIZE).unwrap();
        assert!(!ring.from_pool() && bits(28).covers(ring.bus(), 8 * PAGE_SIZE));
        assert_eq!(machine.balance().out, 2);
        ring.close().unwrap();
        assert_eq!(machine.balance().out, 1);
    });
}

#[test]
fn impossible_sizes_are_refused() {
    with_pool(Plan::new(MIB), |machine, pool| {
        let limits = Limits::new(DmaMask::BITS_32).within(power(65536));
        let device = Device::new(pool, machine, limits, Policy::Auto);
        assert_eq!(device.coherent(0).unwrap_err(), CoherentError::Empty);
        let error = device.coherent(65537).unwrap_err();
        assert_eq!(error, CoherentError::TooLarge { len: 65537, limit: 65536 });
        device.coherent(65536).unwrap().close().unwrap();
        let error = forced(machine, pool).coherent(17 * MIB).unwrap_err();
        assert!(matches!(error, CoherentError::TooLarge { .. }));
        let narrow = Device::new(pool, machine, Limits::new(bits(20)), Policy::Auto);
        let error = narrow.coherent(4096).unwrap_err();
        let refused =
            AcquireError::Refused { order: order(0), bits: 20, error: XenError::NoMemory };
        assert_eq!(error, CoherentError::NoMemory(refused));
    });
}
