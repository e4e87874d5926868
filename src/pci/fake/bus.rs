//! Config spaces in memory, by the rules of hardware or of pciback.
//!
//! Stricter than both: sizing a BAR while the device decodes (hardware) and writing a BAR anything but
//! all ones or its own value (pciback) are counted as violations.

use crate::pci::{
    Bdf, ConfigAccess, ConfigError, Status, Width, access::Refusal, access::check, function::reg,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};
use core::cell::{Cell, RefCell};

/// Bytes of config space, without the extended one and with it.
const CONVENTIONAL: usize = 256;
const EXTENDED: usize = 4096;

#[derive(Clone, Copy, Debug, Default)]
struct FakeBar {
    value: u32,
    mask: u32,
    /// Bits that say what kind it is and can't be written.
    fixed: u32,
    /// Behind pciback: whether the next read tells the size.
    sizing: bool,
}

/// A function: config space, with the extended one if there is anything in it, and six BARs.
#[derive(Clone, Debug)]
pub struct FakeDevice {
    space: Vec<u8>,
    bars: [FakeBar; 6],
}

impl FakeDevice {
    /// A device with nothing but a name; `class` is base, sub and interface in one number.
    pub fn new(vendor: u16, device: u16, class: u32) -> Self {
        let new = Self { space: vec![0; CONVENTIONAL], bars: Default::default() };
        new.bytes(0x00, &vendor.to_le_bytes())
            .bytes(0x02, &device.to_le_bytes())
            .bytes(0x08, &(class << 8).to_le_bytes())
    }

    /// Sets bytes of config space as they are.
    #[must_use]
    pub fn bytes(mut self, offset: usize, bytes: &[u8]) -> Self {
        if offset >= CONVENTIONAL {
            self.space.resize(EXTENDED, 0);
        }
        self.space[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Adds a BAR: `register` as the device would show it, with its type bits; 64-bit ones take two.
    #[must_use]
    pub fn bar(mut self, index: usize, register: u64, size: u64) -> Self {
        let flags = if register & 1 == 1 { 0b11 } else { 0xf };
        let mask = !(size - 1) & !flags | register & flags;
        let halves = [(register, mask, flags), (register >> 32, mask >> 32, 0)];
        let wide = register & 0b111 == 0b100;
        let room = self.bars.iter_mut().skip(index).take(1 + usize::from(wide));
        for (bar, (value, mask, fixed)) in room.zip(halves) {
            bar.value = low(value);
            bar.mask = low(mask);
            bar.fixed = low(fixed);
        }
        self
    }

    /// A bridge to the buses from `secondary` to `subordinate`.
    pub fn bridge(primary: u8, secondary: u8, subordinate: u8) -> Self {
        Self::new(0x1b36, 0x000c, 0x06_0400)
            .bytes(usize::from(reg::HEADER_TYPE), &[1])
            .bytes(usize::from(reg::BUSES), &[primary, secondary, subordinate, 0])
    }

    /// Puts a capability in front of the list; `body` follows the two header bytes.
    #[must_use]
    pub fn capability(self, offset: u8, id: u8, body: &[u8]) -> Self {
        let next = self.space[usize::from(reg::CAPABILITIES)];
        self.bytes(usize::from(reg::STATUS), &[1 << 4])
            .bytes(usize::from(reg::CAPABILITIES), &[offset])
            .bytes(offset.into(), &[id, next])
            .bytes(usize::from(offset) + 2, body)
    }

    /// Gives it an INTx pin (1 to 4) and the line it is routed to.
    #[must_use]
    pub fn interrupt(self, pin: u8, line: u8) -> Self {
        self.bytes(usize::from(reg::INTERRUPT_LINE), &[line, pin])
    }

    /// Which BAR is at an offset. A bridge has two.
    fn bar_index(&self, offset: u16) -> Option<usize> {
        let is_bridge = self.space[usize::from(reg::HEADER_TYPE)] & 0x7f == 1;
        let bars = reg::BAR0..reg::BAR0 + if is_bridge { 8 } else { 24 };
        bars.contains(&offset).then(|| usize::from((offset - reg::BAR0) / 4))
    }

    fn decodes(&self) -> bool {
        self.space[usize::from(reg::COMMAND)] & 0b11 != 0
    }
}

/// A machine's functions.
#[derive(Debug, Default)]
pub struct FakeBus {
    devices: RefCell<BTreeMap<Bdf, FakeDevice>>,
    pciback: bool,
    guarded: RefCell<BTreeSet<Bdf>>,
    violations: Cell<u32>,
    command_writes: Cell<u32>,
}

impl FakeBus {
    /// Hardware: absent functions answer all ones.
    pub fn hardware() -> Self {
        Self::default()
    }

    /// pciback: absent functions are refused, BARs are copies.
    pub fn behind_pciback() -> Self {
        Self { pciback: true, ..Self::default() }
    }

    /// The bus with one more function.
    #[must_use]
    pub fn with(self, bdf: Bdf, device: FakeDevice) -> Self {
        self.insert(bdf, device);
        self
    }

    /// Plugs a function in.
    pub fn insert(&self, bdf: Bdf, device: FakeDevice) {
        self.devices.borrow_mut().insert(bdf, device);
    }

    /// Pulls a function out.
    pub fn remove(&self, bdf: Bdf) {
        self.devices.borrow_mut().remove(&bdf);
    }

    /// Xen keeps this function: what is written to it is dropped.
    #[must_use]
    pub fn guarding(self, bdf: Bdf) -> Self {
        self.guarded.borrow_mut().insert(bdf);
        self
    }

    /// Has a function's status register say this.
    pub fn set_status(&self, bdf: Bdf, status: Status) {
        if let Some(device) = self.devices.borrow_mut().get_mut(&bdf) {
            let at = usize::from(reg::STATUS);
            device.space[at..at + 2].copy_from_slice(&status.bits().to_le_bytes());
        }
    }

    /// Where its functions are.
    pub fn functions(&self) -> Vec<Bdf> {
        self.devices.borrow().keys().copied().collect()
    }

    /// How often a rule was broken.
    pub fn violations(&self) -> u32 {
        self.violations.get()
    }

    /// How often any command register was written.
    pub fn command_writes(&self) -> u32 {
        self.command_writes.get()
    }

    fn violation(&self) {
        self.violations.set(self.violations.get() + 1);
    }

    fn read_bar(&self, device: &FakeDevice, index: usize) -> u32 {
        let bar = device.bars[index];
        if self.pciback && bar.sizing { bar.mask } else { bar.value }
    }

    fn write_bar(&self, device: &mut FakeDevice, index: usize, width: Width, value: u32) {
        let decodes = device.decodes();
        let bar = &mut device.bars[index];
        if self.pciback {
            bar.sizing = value == u32::MAX;
            if width != Width::U32 || (value != u32::MAX && value != bar.value) {
                self.violation();
            }
            return;
        }
        if decodes || width != Width::U32 {
            self.violation();
        }
        bar.value = value & bar.mask & !bar.fixed | bar.value & bar.fixed;
    }
}

impl ConfigAccess for FakeBus {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        check(bdf, offset, width)?;
        let devices = self.devices.borrow();
        let Some(device) = devices.get(&bdf) else {
            return match self.pciback {
                true => Err(ConfigError::NoDevice(bdf)),
                false => Ok(width.mask()),
            };
        };
        let at = usize::from(offset);
        if at >= device.space.len() {
            let refusal = Refusal::BadOffset;
            return match self.pciback {
                true => Err(ConfigError::Refused { bdf, offset, refusal }),
                false => Ok(width.mask()),
            };
        }
        let word = match device.bar_index(offset) {
            Some(index) => self.read_bar(device, index),
            None => {
                let word = &device.space[at & !3..][..4];
                u32::from_le_bytes(word.try_into().expect("four bytes"))
            }
        };
        Ok(word >> (8 * (offset % 4)) & width.mask())
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        self.read(bdf, offset, width)?;
        if self.guarded.borrow().contains(&bdf) {
            return Ok(());
        }
        let mut devices = self.devices.borrow_mut();
        let Some(device) = devices.get_mut(&bdf) else {
            return Ok(());
        };
        if let Some(index) = device.bar_index(offset) {
            self.write_bar(device, index, width, value);
            return Ok(());
        }
        if offset == reg::COMMAND {
            self.command_writes.set(self.command_writes.get() + 1);
        }
        // Identity and status can't be written; of the rest only what the tests need is modelled.
        if (reg::COMMAND..reg::STATUS).contains(&offset) {
            let bytes = value.to_le_bytes();
            let count = usize::from(width.bytes()).min(2);
            let at = usize::from(offset);
            device.space[at..at + count].copy_from_slice(&bytes[..count]);
        } else if offset >= 0x40 && !self.pciback {
            let (at, count) = (usize::from(offset), usize::from(width.bytes()));
            device.space[at..at + count].copy_from_slice(&value.to_le_bytes()[..count]);
        }
        Ok(())
    }

    fn bars_are_virtual(&self) -> bool {
        self.pciback
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).expect("masked to 32 bits")
}
