//! Which bits of config space take what is written: a backend lets through what it knows, and drops the rest without a word.
//!
//! Tried are bits that do no harm whatever the device is doing: none lets it do DMA or decode, orders its accesses otherwise,
//! moves it, resets it, puts it to sleep or has it interrupt. Each is written back at once. What a vendor has put outside the
//! capabilities is left alone, since nobody knows what it does. Sources: PCI Local Bus Specification 3.0, sections 6.2 and 6.8;
//! PCI Bus Power Management Interface Specification 1.2, section 3.2.4; PCI Express Base Specification 3.0, sections 7.8.4
//! and 7.10.

use super::{
    Capability, CapabilityId, ConfigError, Function, PciError, Width, access::CONFIG_SPACE,
    function::reg, msi::Msi,
};
use alloc::vec::Vec;

/// A register, and what of it may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is called.
    pub name: &'static str,
    /// Where it is.
    pub offset: u16,
    /// How wide.
    pub width: Width,
    /// The bits that do no harm.
    pub tried: u32,
    /// Bits that do something when a one is written, and so never are.
    pub zeroed: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What it held.
    pub before: u32,
    /// Which of the bits changed as they were written.
    pub taken: u32,
    /// What it holds since it was written back.
    pub after: u32,
}

impl Tried {
    /// Whether everything is as it was.
    pub const fn is_restored(self) -> bool {
        self.before == self.after
    }
}

const fn field(name: &'static str, offset: u16, width: Width, tried: u32) -> Field {
    Field { name, offset, width, tried, zeroed: 0 }
}

/// What every function has. Of the command register: special cycles, parity and system errors, fast back-to-back. Memory write
/// and invalidate is left out, as a host sets the cache line size along with it.
const HEADER: [Field; 4] = [
    field("command", reg::COMMAND, Width::U16, 0x0348),
    field("cache-line-size", reg::CACHE_LINE_SIZE, Width::U8, 0xff),
    field("latency-timer", reg::LATENCY_TIMER, Width::U8, 0xff),
    field("interrupt-line", reg::INTERRUPT_LINE, Width::U8, 0xff),
];

impl Field {
    /// Flips its bits, and writes back what it held.
    pub fn attempt(&self, function: &Function<'_>) -> Result<Tried, ConfigError> {
        let Self { offset, width, tried, zeroed, .. } = *self;
        let (access, bdf) = (function.access(), function.bdf());
        let before = access.read(bdf, offset, width)?;
        let kept = before & !zeroed;
        access.write(bdf, offset, width, kept ^ tried)?;
        let flipped = access.read(bdf, offset, width);
        access.write(bdf, offset, width, kept)?;
        let after = access.read(bdf, offset, width)?;
        Ok(Tried { before, taken: (flipped? ^ before) & tried, after })
    }
}

impl Function<'_> {
    /// The registers that may be tried.
    pub fn harmless_fields(&self) -> Result<Vec<Field>, PciError> {
        let mut fields = HEADER.to_vec();
        for Capability { id, offset } in self.capabilities()? {
            match id {
                // Its data's number, not its state; its event is cleared by a one.
                CapabilityId::POWER => {
                    let control = field("power-control", offset + 4, Width::U16, 0x1e00);
                    fields.push(Field { zeroed: 0x8000, ..control });
                }
                // Which errors are reported; a one in bit 15 resets the function.
                CapabilityId::EXPRESS => {
                    let control = field("device-control", offset + 8, Width::U16, 0x000f);
                    fields.push(Field { zeroed: 0x8000, ..control });
                }
                _ => {}
            }
        }
        // A message that is not in use.
        if let Some(Msi { offset, enabled: false, wide, .. }) = self.msi()? {
            let data = offset + if wide { 12 } else { 8 };
            fields.push(field("msi-address", offset + 4, Width::U32, 0xffff_fffc));
            fields.push(field("msi-data", data, Width::U16, 0xffff));
        }
        // A record may be said to be so near the end that its registers would be in what follows.
        fields.retain(|field| field.offset < CONVENTIONAL);
        let beyond = self.extended_capabilities()?.unwrap_or_default();
        let errors = beyond.iter().filter(|record| record.id == ERROR_REPORTING);
        for at in errors.map(|record| record.offset).filter(|at| *at < CONFIG_SPACE - LENGTH) {
            fields.push(field("uncorrectable-mask", at + 8, Width::U32, 0x0011_5010));
            fields.push(field("correctable-mask", at + 0x14, Width::U32, 0x0000_31c1));
        }
        Ok(fields)
    }
}

/// What a function without PCI Express has, and where the extended space begins.
const CONVENTIONAL: u16 = 0x100;
/// Advanced Error Reporting, as an extended capability.
const ERROR_REPORTING: u16 = 0x0001;
/// How many bytes of it there are up to and with the last register tried.
const LENGTH: u16 = 0x18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Bdf;
    use alloc::vec;
    use core::cell::{Cell, RefCell};

    const BDF: &str = "00:01.0";
    /// Bits that nothing here may change, as offset and word: DMA, decoding, state of power, MSI's switch, order of accesses, reset.
    const FORBIDDEN: [(usize, u32); 5] =
        [(0x04, 0x0417), (0x44, 0x8003), (0x50, 0x0001_0000), (0x68, 0xfff0), (0x3c, 0xff00)];

    /// A device of 4 KiB, and which bits somebody lets through.
    #[derive(Debug)]
    struct Space {
        bytes: RefCell<Vec<u8>>,
        writable: Vec<u8>,
        writes: Cell<u32>,
        /// Which write is lost, counted from 1.
        dropped: Option<u32>,
    }

    impl Space {
        fn new(writable: u8) -> Self {
            let space = Self {
                bytes: RefCell::new(vec![0; 4096]),
                writable: vec![writable; 4096],
                writes: Cell::new(0),
                dropped: None,
            };
            let words = [
                (0x00, 0x10d3_8086),
                // Memory and mastering on; a list of capabilities.
                (0x04, 0x0010_0006),
                (0x0c, 0x0000_4010),
                (0x34, 0x40),
                (0x40, 0x0000_5001),
                // Asleep, with an event.
                (0x44, 0x8003),
                (0x50, 0x0080_6005),
                (0x60, 0x0000_0010),
                (0x100, 0x1401_0003),
                (0x140, 0x0001_0001),
            ];
            words.iter().for_each(|(at, word)| space.put(*at, *word));
            space
        }

        fn put(&self, at: usize, word: u32) {
            self.bytes.borrow_mut()[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }

        fn word(&self, at: usize) -> u32 {
            u32::from_le_bytes(self.bytes.borrow()[at..at + 4].try_into().unwrap())
        }

        fn fields(&self) -> Vec<Field> {
            self.function().harmless_fields().unwrap()
        }

        fn function(&self) -> Function<'_> {
            Function::probe(self, BDF.parse().unwrap()).unwrap().unwrap()
        }
    }

    impl super::super::ConfigAccess for Space {
        fn read(&self, _: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
            let word = self.word(usize::from(offset & !0b11));
            Ok(word >> (8 * (offset % 4)) & width.mask())
        }

        fn write(&self, _: Bdf, offset: u16, width: Width, value: u32) -> Result<(), ConfigError> {
            self.writes.update(|writes| writes + 1);
            if self.dropped == Some(self.writes.get()) {
                return Ok(());
            }
            let at = usize::from(offset);
            let before = FORBIDDEN.map(|(at, _)| self.word(at));
            for (i, byte) in value.to_le_bytes().into_iter().take(width.bytes().into()).enumerate()
            {
                let mask = self.writable[at + i];
                let old = self.bytes.borrow()[at + i];
                self.bytes.borrow_mut()[at + i] = old & !mask | byte & mask;
            }
            // A one clears the event, and resets.
            assert!(at != 0x44 && at != 0x68 || value & 0x8000 == 0, "{at:#x}: {value:#x}");
            if at == 0x44 {
                self.put(0x44, self.word(0x44) | 0x8000);
            }
            for ((at, bits), before) in FORBIDDEN.into_iter().zip(before) {
                assert_eq!((self.word(at) ^ before) & bits, 0, "{at:#x}");
            }
            Ok(())
        }
    }

    #[test]
    fn what_is_taken_is_seen_and_everything_is_as_it_was() {
        for writable in [0xff, 0, 0x55] {
            let space = Space::new(writable);
            let before = space.bytes.borrow().clone();
            let fields = space.fields();
            assert_eq!(fields.len(), 10, "{fields:?}");
            let at = |name| fields.iter().find(|field| field.name == name).unwrap().offset;
            assert_eq!([at("msi-address"), at("msi-data")], [0x54, 0x5c]);
            let errors = [at("uncorrectable-mask"), at("correctable-mask")];
            assert_eq!(errors, [0x148, 0x154]);
            for field in fields {
                let done = field.attempt(&space.function()).unwrap();
                let mask = field.tried & u32::from_le_bytes([writable; 4]);
                assert_eq!((done.taken, done.is_restored()), (mask, true), "{field:?}");
            }
            assert_eq!(*space.bytes.borrow(), before);
        }
    }

    #[test]
    fn a_bit_that_would_reset_the_function_is_never_written_back() {
        let mut space = Space::new(0xff);
        // A bridge has something else there.
        space.writable[0x69] = 0x7f;
        space.put(0x68, space.word(0x68) | 0x8000);
        let control = space.fields().into_iter().find(|field| field.name == "device-control");
        let done = control.unwrap().attempt(&space.function()).unwrap();
        assert_eq!(done.taken, 0x000f);
    }

    #[test]
    fn a_message_in_use_is_left_alone() {
        let space = Space::new(0xff);
        space.put(0x50, 0x0081_6005);
        assert!(space.fields().iter().all(|field| !field.name.starts_with("msi")));
    }

    #[test]
    fn registers_that_would_lie_elsewhere_are_left_alone() {
        let count = |change: &dyn Fn(&Space)| {
            let space = Space::new(0xff);
            change(&space);
            space.fields().len()
        };
        assert_eq!(count(&|_| {}), 10);
        // Without PCI Express, and with error reporting near the end or nowhere.
        assert_eq!(count(&|space| space.put(0x60, 0)), 7);
        let moved = |space: &Space, to: u16| {
            space.put(0x100, u32::from(to) << 20 | 0x1_0003);
            space.put(to.into(), 0x1_0001);
        };
        assert_eq!(count(&|space| moved(space, 0xfe4)), 10);
        assert_eq!(count(&|space| moved(space, 0xfe8)), 8);
        assert_eq!(count(&|space| space.put(0x100, 0)), 8);
        // Records in the last words of the conventional space.
        let listed = |space: &Space, to: u8, id: u32| {
            space.put(0x60, u32::from(to) << 8 | 0x09);
            space.put(to.into(), id);
            space.put(0x100, 0);
        };
        assert_eq!(count(&|space| listed(space, 0xf8, 1)), 8);
        assert_eq!(count(&|space| listed(space, 0xfc, 1)), 7);
        assert_eq!(count(&|space| listed(space, 0xf4, 0x10)), 8);
        assert_eq!(count(&|space| listed(space, 0xf8, 0x10)), 7);
    }

    #[test]
    fn what_stays_changed_is_seen() {
        // The first write of each is taken, the one that is to undo it is dropped.
        for field in Space::new(0xff).fields() {
            let space = Space { dropped: Some(2), ..Space::new(0xff) };
            let done = field.attempt(&space.function()).unwrap();
            assert_eq!(done.taken, field.tried, "{field:?}");
            assert!(!done.is_restored(), "{field:?}");
        }
    }
}
