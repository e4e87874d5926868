//! A device that everything bounces for, and what a driver does for each frame. Over a fake machine, so that only the library's
//! own work counts; its device writes nothing, so no slots are filled.

use pvbounce::{
    addr::DmaMask,
    dma::{
        Device, FromDevice, Limits, Plan, Policy, Pool, Table, ToDevice,
        fake::{FakeMachine, Frames},
    },
};
use std::hint::black_box;

pub(crate) fn device() -> Device<'static> {
    let machine: &FakeMachine = Box::leak(Box::new(FakeMachine::new(Frames::default())));
    let pool = Box::leak(Box::new(Pool::new(Box::leak(Box::new(Table::new())), machine)));
    pool.start(&Plan::new(1 << 20), &mut |_| {}).unwrap();
    let limits = Limits::new(DmaMask::BITS_32);
    Device::new(pool, machine, limits, Policy::Force).without_fill()
}

/// Bytes for the device.
pub(crate) fn to_device(device: &Device<'_>, bytes: &[u8]) {
    let mapping = device.try_map::<ToDevice, _>(black_box(bytes)).unwrap();
    black_box(mapping).finish(0).unwrap();
}

/// Bytes from the device, which says that it wrote all of them.
pub(crate) fn from_device(device: &Device<'_>, bytes: &mut [u8]) {
    let len = bytes.len();
    let mapping = device.try_map::<FromDevice, _>(black_box(bytes)).unwrap();
    black_box(mapping).finish(len).unwrap();
}
