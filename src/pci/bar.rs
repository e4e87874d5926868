//! Base address registers: where a device answers, and how large that range is.
//!
//! Sizing writes all ones, reads back which bits stick, and writes the old value again. On hardware the
//! device must not decode meanwhile, so its decode bits are off during it. Behind pciback the registers
//! are copies that know exactly two writes, all ones and the old value, both 32 bits wide; turning
//! decode off there would only disable the device in dom0, so it is left alone.

use super::{
    Bdf, ConfigError,
    function::{Command, Function, PciError, reg},
};
use crate::addr::BusAddr;
use alloc::vec::Vec;

/// What kind of range, and where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory at a machine address; zero when firmware assigned none.
    Memory {
        /// First byte.
        address: BusAddr,
        /// Whether the register is 64 bits wide and takes the next index, too.
        wide: bool,
        /// Whether reads have no side effects.
        prefetchable: bool,
    },
    /// I/O ports.
    Io {
        /// First port.
        port: u16,
    },
}

/// A range the device answers at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Register number, 0 to 5.
    pub index: u8,
    /// What and where.
    pub kind: BarKind,
    /// Bytes, or ports; a power of two.
    pub size: u64,
}

/// A register pair before decoding: old contents, and which bits stuck. The upper halves are zero
/// respectively all ones for a narrow register.
#[derive(Clone, Copy)]
struct Raw {
    value: u64,
    mask: u64,
}

const ALL_ONES: u32 = u32::MAX;
const IS_IO: u32 = 1 << 0;
const IS_WIDE: u32 = 0b10 << 1;
const TYPE: u32 = 0b11 << 1;
const IS_PREFETCHABLE: u64 = 1 << 3;

impl Bar {
    /// Where it is, if it is memory and firmware placed it.
    pub fn placed(&self) -> Option<BusAddr> {
        match self.kind {
            BarKind::Memory { address, .. } if address.0 != 0 => Some(address),
            _ => None,
        }
    }
}

impl Function<'_> {
    /// Reads and sizes all BARs; unimplemented ones are left out. The registers end up as they were.
    pub fn bars(&self) -> Result<Vec<Bar>, PciError> {
        let count = match self.header_type()? {
            0 => 6,
            1 => 2,
            _ => 0,
        };
        if self.access().bars_are_virtual() {
            return self.size_bars(count);
        }
        let before = self.disable(Command::IO | Command::MEMORY)?;
        let bars = self.size_bars(count);
        if before.intersects(Command::IO | Command::MEMORY) {
            self.set_command(before)?;
        }
        bars
    }

    fn size_bars(&self, count: u8) -> Result<Vec<Bar>, PciError> {
        let mut bars = Vec::new();
        let mut index = 0;
        while index < count {
            let (low, low_mask) = self.size_register(index)?;
            let wide = low & (IS_IO | TYPE) == IS_WIDE;
            let (high, high_mask) = match wide {
                true if index + 1 < count => self.size_register(index + 1)?,
                true => return Err(self.bad(index, low.into(), low_mask.into(), "no upper half")),
                false => (0, ALL_ONES),
            };
            let raw = Raw { value: join(low, high), mask: join(low_mask, high_mask) };
            if low_mask != 0 {
                let bar = decode(index, raw);
                bars.push(bar.map_err(|why| self.bad(index, raw.value, raw.mask, why))?);
            }
            index += 1 + u8::from(wide);
        }
        Ok(bars)
    }

    /// What the register holds, and what it reads after all ones.
    fn size_register(&self, index: u8) -> Result<(u32, u32), ConfigError> {
        let offset = reg::BAR0 + 4 * u16::from(index);
        let value = self.read_u32(offset)?;
        let sized = self.write_u32(offset, ALL_ONES).and_then(|()| self.read_u32(offset));
        // Also when sizing failed: the register must not keep the ones.
        self.write_u32(offset, value)?;
        Ok((value, sized?))
    }

    const fn bad(&self, index: u8, value: u64, mask: u64, why: &'static str) -> PciError {
        let bdf: Bdf = self.bdf();
        PciError::BadBar { bdf, index, value, mask, why }
    }
}

fn decode(index: u8, raw: Raw) -> Result<Bar, &'static str> {
    let [low, ..] = raw.value.to_le_bytes();
    let low = u32::from(low);
    if low & IS_IO != 0 {
        return decode_io(index, raw);
    }
    if low & TYPE == TYPE {
        return Err("memory type 3 does not exist");
    }
    let size = size_of_mask(raw.mask & !0xf).ok_or("the bits that stick are no size")?;
    let address = raw.value & !0xf;
    if address.checked_add(size).is_none() || !address.is_multiple_of(size) {
        return Err("the address is not aligned to the size");
    }
    let kind = BarKind::Memory {
        address: BusAddr(address),
        wide: low & TYPE == IS_WIDE,
        prefetchable: raw.value & IS_PREFETCHABLE != 0,
    };
    Ok(Bar { index, kind, size })
}

fn decode_io(index: u8, raw: Raw) -> Result<Bar, &'static str> {
    // Devices may leave the upper 16 bits unimplemented: x86 has no ports there.
    let mask = (raw.mask & !0b11) | !0xffff;
    let size = size_of_mask(mask).ok_or("the bits that stick are no size")?;
    let port = raw.value & !0b11;
    let port = u16::try_from(port).map_err(|_| "the port is above 0xffff")?;
    if !u64::from(port).is_multiple_of(size) {
        return Err("the port is not aligned to the size");
    }
    let kind = BarKind::Io { port };
    Ok(Bar { index, kind, size })
}

/// The size behind a sizing mask: its lowest set bit, if all above are set, too.
const fn size_of_mask(mask: u64) -> Option<u64> {
    let size = (!mask).wrapping_add(1);
    if size.is_power_of_two() { Some(size) } else { None }
}

const fn join(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{
        ConfigAccess,
        fake::{FakeBus, FakeDevice},
    };
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    fn nic() -> FakeDevice {
        FakeDevice::new(0x10ec, 0x8139, 0x02_0000)
            .bar(0, 0xc101, 0x100)
            .bar(1, 0xfebf_1000, 0x100)
            .bar(2, 0x12_0000_000c, 0x1_0000_0000)
    }

    fn expected() -> [Bar; 3] {
        let memory =
            |address, wide| BarKind::Memory { address: BusAddr(address), wide, prefetchable: wide };
        let bar = |index, kind, size| Bar { index, kind, size };
        [
            bar(0, BarKind::Io { port: 0xc100 }, 0x100),
            bar(1, memory(0xfebf_1000, false), 0x100),
            bar(2, memory(0x12_0000_0000, true), 0x1_0000_0000),
        ]
    }

    #[test]
    fn a_device_has_six_a_bridge_two_and_what_else_there_is_none() {
        for (header, count) in [(0, 6), (0x80, 6), (1, 2), (2, 0)] {
            let device = FakeDevice::new(1, 2, 0).bytes(0x0e, &[header]);
            let device = (0..6).fold(device, |device, index| {
                device.bar(index, 0xfe00_0000 + index as u64 * 0x1000, 0x1000)
            });
            let bdf = "00:03.0".parse().unwrap();
            let bus = FakeBus::behind_pciback().with(bdf, device);
            let function = Function::probe(&bus, bdf).unwrap().unwrap();
            assert_eq!(function.bars().unwrap().len(), count, "header {header:#x}");
        }
    }

    #[test]
    fn sizes_come_out_and_registers_stay() {
        for bus in [FakeBus::hardware(), FakeBus::behind_pciback()] {
            let bdf = "00:03.0".parse().unwrap();
            let bus = bus.with(bdf, nic());
            let function = Function::probe(&bus, bdf).unwrap().unwrap();
            function.enable(Command::MEMORY | Command::IO).unwrap();
            assert_eq!(function.bars().unwrap(), expected());
            assert_eq!(function.bars().unwrap(), expected(), "a second time");
            let now = function.command().unwrap();
            assert!(now.contains(Command::MEMORY | Command::IO));
            assert_eq!(bus.violations(), 0);
        }
    }

    #[test]
    fn memory_that_firmware_placed_is_somewhere_and_nothing_else_is() {
        let places = expected().map(|bar| bar.placed());
        assert_eq!(places, [None, Some(BusAddr(0xfebf_1000)), Some(BusAddr(0x12_0000_0000))]);
        let kind = BarKind::Memory { address: BusAddr(0), wide: false, prefetchable: false };
        assert_eq!(Bar { index: 0, kind, size: 0x1000 }.placed(), None);
    }

    #[test]
    fn decode_is_never_touched_behind_pciback() {
        let bdf = "00:03.0".parse().unwrap();
        let bus = FakeBus::behind_pciback().with(bdf, nic());
        assert!(bus.bars_are_virtual());
        let function = Function::probe(&bus, bdf).unwrap().unwrap();
        function.enable(Command::MEMORY).unwrap();
        let writes = bus.command_writes();
        function.bars().unwrap();
        assert_eq!(bus.command_writes(), writes);
    }

    #[test]
    fn impossible_registers_are_named() {
        let raw = |value, mask| Raw { value, mask };
        let ones = 0xffff_ffff_0000_0000;
        let half = decode(0, raw(0xc101, ones | 0xff01)).unwrap();
        assert_eq!(half.size, 0x100, "upper half of an I/O BAR may be missing");
        assert!(decode(0, raw(6, ones | 0xffff_f000)).is_err());
        assert!(decode(0, raw(0x1000, ones | 0xff0f_f000)).is_err());
        assert!(decode(0, raw(0x1800, ones | 0xffff_f000)).is_err());
        assert!(decode(0, raw(0x1_0001, ones | 0xffff_ff01)).is_err());
        let bdf = "00:03.0".parse().unwrap();
        let device = FakeDevice::new(1, 2, 0).bar(5, 0x1000_0004, 0x1000);
        let bus = FakeBus::hardware().with(bdf, device);
        let function = Function::probe(&bus, bdf).unwrap().unwrap();
        let error = function.bars().unwrap_err();
        assert_eq!(error.code(), "pci-bad-bar");
        assert!(error.to_string().contains("no upper half"), "{error}");
    }

    proptest! {
        #[test]
        fn any_registers_decode_without_panic(value: u64, mask: u64) {
            let _ = decode(0, Raw { value, mask });
        }
    }
}
