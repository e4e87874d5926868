//! What a device leaves behind when it goes away in the middle of something.

use crate::{
    addr::BusAddr,
    dma::{Device, Limits, Policy, Pool, ToDevice, fake::FakeMachine},
};
use alloc::{vec, vec::Vec};

/// Everything a pool still hands out to a device with these limits: bus address of the first byte, and length.
pub fn rest_of(pool: &Pool<'_>, machine: &FakeMachine, limits: Limits) -> Vec<(u64, u64)> {
    let device = Device::new(pool, machine, limits, Policy::Force);
    let mut mappings = Vec::new();
    while let Ok(mapping) = device.map::<ToDevice, _>(vec![0; 2048]) {
        mappings.push(mapping);
    }
    // Ended, so that their buffers come back: a dropped one leaves its own to the device for ever.
    let ended = mappings.into_iter().map(|mapping| {
        let bus = mapping.bus().0;
        mapping.finish(0).expect("nobody wrote there");
        (bus, 2048)
    });
    ended.collect()
}

/// Of what a device may still use nothing is handed out again, and of the rest all.
///
/// # Panics
/// If it is not so.
pub fn check(pool: &Pool<'_>, machine: &FakeMachine, limits: Limits, owned: &[(BusAddr, usize)]) {
    let stats = pool.stats();
    let rest = rest_of(pool, machine, limits);
    for &(BusAddr(bus), len) in owned {
        let end = bus + len as u64;
        let again = rest.iter().find(|&&(at, count)| at < end && bus < at + count);
        assert_eq!(again, None, "{len} bytes at {bus:#x} are the device's");
    }
    assert_eq!(rest.len() + stats.in_use, stats.slots, "lost");
}
