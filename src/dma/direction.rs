//! Which way the bytes go, as types: reading a buffer the device never writes does not compile.

use core::fmt;

mod sealed {
    pub trait Sealed {}
}

/// One of [`ToDevice`], [`FromDevice`] and [`Bidirectional`].
pub trait Direction: sealed::Sealed + fmt::Debug {
    /// The CPU's bytes must reach the device.
    const TO_DEVICE: bool;
    /// The device's bytes must reach the CPU.
    const FROM_DEVICE: bool;
    /// Both as a value.
    const FLOW: Flow = Flow { to_device: Self::TO_DEVICE, from_device: Self::FROM_DEVICE };
}

/// A direction as a value, for code that is there once for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub(super) to_device: bool,
    pub(super) from_device: bool,
}

/// A direction in which the device reads.
pub trait Readable: Direction {}

/// A direction in which the device writes.
pub trait Writable: Direction {}

/// The device reads, and must not write.
#[derive(Clone, Copy, Debug)]
pub struct ToDevice;

/// The device writes; what was in the buffer before does not matter.
#[derive(Clone, Copy, Debug)]
pub struct FromDevice;

/// The device reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Bidirectional;

impl sealed::Sealed for ToDevice {}
impl sealed::Sealed for FromDevice {}
impl sealed::Sealed for Bidirectional {}

impl Direction for ToDevice {
    const TO_DEVICE: bool = true;
    const FROM_DEVICE: bool = false;
}
impl Direction for FromDevice {
    const TO_DEVICE: bool = false;
    const FROM_DEVICE: bool = true;
}
impl Direction for Bidirectional {
    const TO_DEVICE: bool = true;
    const FROM_DEVICE: bool = true;
}

impl Readable for ToDevice {}
impl Readable for Bidirectional {}
impl Writable for FromDevice {}
impl Writable for Bidirectional {}
