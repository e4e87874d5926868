//! Config space of a device that answers what it likes: identity, BARs, capabilities, MSI and MSI-X.
//!
//! Asserts: every look ends; a capability lies outside the header, in config space, and once, beyond the first 256 bytes as well;
//! BARs are powers of two, aligned, and no two share a register; every BAR register that was sized holds what it held before, and so
//! does every register that was tried.

use crate::Input;
use pvbounce::pci::{
    Bar, BarKind, Bdf, Bus, ConfigAccess, ConfigError, Function, Width,
    access::{CONFIG_SPACE, Refusal},
};
use std::cell::{Cell, RefCell};

const SPACE: usize = 256;
const BARS: std::ops::Range<u16> = 0x10..0x28;

/// A function whose BAR registers keep the bits of a mask, and which may refuse.
#[derive(Debug)]
struct Device {
    space: RefCell<[u8; SPACE]>,
    masks: [u32; 6],
    input: Input,
    /// Whether each look may be refused or answered with other bytes.
    moody: bool,
    pciback: bool,
    looks: Cell<usize>,
}

impl Device {
    fn look(&self, bdf: Bdf, offset: u16, width: Width) -> Result<(), ConfigError> {
        self.looks.set(self.looks.get() + 1);
        assert!(self.looks.get() < 10_000, "it looks for ever");
        assert!(offset < CONFIG_SPACE && offset.is_multiple_of(width.bytes().into()));
        match self.moody && self.input.once_in(16) {
            true if self.input.once_in(2) => Err(ConfigError::NoDevice(bdf)),
            true => Err(ConfigError::Refused { bdf, offset, refusal: Refusal::Failed }),
            false => Ok(()),
        }
    }
}

impl ConfigAccess for Device {
    fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
        self.look(bdf, offset, width)?;
        if self.moody && self.input.once_in(8) {
            return Ok(self.input.u32() & width.mask());
        }
        let (space, at) = (self.space.borrow(), usize::from(offset));
        let bytes = (0..usize::from(width.bytes())).map(|i| space.get(at + i).copied());
        Ok(bytes.rev().fold(0, |word, byte| word << 8 | u32::from(byte.unwrap_or(0xff))))
    }

    fn write(&self, bdf: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
        self.look(bdf, offset, width)?;
        let (mut space, at) = (self.space.borrow_mut(), usize::from(offset));
        let mut bytes = value.to_le_bytes();
        if BARS.contains(&offset) {
            let index = (at - usize::from(BARS.start)) / 4;
            assert_eq!(width, Width::U32, "a BAR is written whole");
            let old = u32::from_le_bytes([space[at], space[at + 1], space[at + 2], space[at + 3]]);
            let mask = self.masks[index];
            bytes = ((value & mask) | (old & !mask)).to_le_bytes();
        }
        for (i, &byte) in bytes.iter().take(width.bytes().into()).enumerate() {
            if let Some(place) = space.get_mut(at + i) {
                *place = byte;
            }
        }
        Ok(())
    }

    fn bars_are_virtual(&self) -> bool {
        self.pciback
    }
}

fn registers(bar: &Bar) -> std::ops::Range<u8> {
    let wide = matches!(bar.kind, BarKind::Memory { wide: true, .. });
    bar.index..bar.index + 1 + u8::from(wide)
}

fn check_bars(bars: &[Bar]) {
    for (n, bar) in bars.iter().enumerate() {
        assert!(bar.size.is_power_of_two() && registers(bar).end <= 6, "{bar:?}");
        let aligned = match bar.kind {
            BarKind::Memory { address, .. } => {
                address.0.is_multiple_of(bar.size) && address.0.checked_add(bar.size).is_some()
            }
            BarKind::Io { port } => u64::from(port).is_multiple_of(bar.size),
        };
        assert!(aligned, "{bar:?}");
        assert!(bars[..n].iter().all(|other| registers(other).end <= bar.index), "{bars:?}");
    }
}

/// See the head of this file.
///
/// # Panics
/// If what it asserts does not hold.
pub fn run(bytes: &[u8]) {
    let input = Input::new(bytes);
    let [moody, pciback] = [input.once_in(2), input.once_in(2)];
    let masks = std::array::from_fn(|_| match input.below(3) {
        0 => 0,
        1 => u32::MAX << input.below(32),
        _ => input.u32(),
    });
    let mut space: [u8; SPACE] = std::array::from_fn(|at| match at {
        // Most devices have a plain header and a list; the rest is drawn.
        0x06 if !input.is_over() => input.u8() | 0x10,
        0x0e => 0x80 * u8::from(input.once_in(2)) + u8::from(input.once_in(8)),
        _ => input.u8(),
    });
    if space[..2] == [0xff; 2] {
        space[0] = 0;
    }
    let (space, looks) = (RefCell::new(space), Cell::new(0));
    let device = Device { space, masks, input, moody, pciback, looks };
    let Ok(Some(function)) = Function::probe(&device, Bus::FIRST.at(0)) else {
        return;
    };
    let before = *device.space.borrow();
    if let Ok(list) = function.capabilities() {
        let inside = |offset| (0x40..=0xfc).contains(&offset) && offset % 4 == 0;
        assert!(list.len() <= 48 && list.iter().all(|cap| inside(cap.offset)), "{list:?}");
        let mut offsets: Vec<u16> = list.iter().map(|cap| cap.offset).collect();
        offsets.sort_unstable();
        assert!(offsets.windows(2).all(|two| two[0] < two[1]), "{list:?}");
    }
    if let Ok(Some(more)) = function.extended_capabilities() {
        let mut offsets: Vec<u16> = more.iter().map(|cap| cap.offset).collect();
        offsets.sort_unstable();
        assert!(offsets.iter().all(|offset| (0x100..0x1000).contains(offset)), "{more:?}");
        assert!(offsets.windows(2).all(|two| two[0] < two[1]), "{more:?}");
    }
    if let Ok(Some(msix)) = function.msix() {
        assert!((1..=2048).contains(&msix.vectors) && msix.table.bar < 6 && msix.pending.bar < 6);
    }
    if let Ok(Some(msi)) = function.msi() {
        assert!(msi.vectors.is_power_of_two() && msi.vectors <= 32);
    }
    if let Ok(bars) = function.bars() {
        check_bars(&bars);
    }
    if !moody {
        let bars = usize::from(BARS.start)..usize::from(BARS.end);
        assert_eq!(device.space.borrow()[bars.clone()], before[bars], "a BAR was moved");
    }
    for field in function.harmless_fields().unwrap_or_default() {
        assert!(field.offset + u16::from(field.width.bytes()) <= CONFIG_SPACE, "{field:?}");
        let done = field.attempt(&function);
        if let (Ok(done), false) = (done, moody) {
            assert_eq!((done.before ^ done.after) & !field.zeroed, 0, "{field:?}: {done:?}");
        }
    }
    let _answers = (function.id(), function.class(), function.interrupt_pin(), function.status());
}
