//! The capability list: what else a function can do, as a chain of records in config space.
//!
//! The chain comes from the device, so it is walked with a bound: at most 48 records fit between 0x40
//! and 0xff, and a place seen twice ends the walk with an error.

use super::{
    access::ConfigError,
    function::{Function, PciError, Status, reg},
};
use alloc::vec::Vec;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// Power management.
    pub const POWER: Self = Self(0x01);
    /// Message signalled interrupts.
    pub const MSI: Self = Self(0x05);
    /// The vendor's own; virtio uses it.
    pub const VENDOR: Self = Self(0x09);
    /// PCI Express.
    pub const EXPRESS: Self = Self(0x10);
    /// Message signalled interrupts with a table.
    pub const MSIX: Self = Self(0x11);
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is about.
    pub id: CapabilityId,
    /// Where it starts in config space.
    pub offset: u16,
}

/// A record beyond the first 256 bytes (PCI Express 6.0, 7.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedCapability {
    /// What it is about.
    pub id: u16,
    /// Which version of it.
    pub version: u8,
    /// Where it starts in config space.
    pub offset: u16,
}

/// Where they start.
const EXTENDED: u16 = 0x100;

/// A record of the vendor's own: the first words of it as they stand, its id and length among them.
pub type Vendor = [u32; 5];

const FIRST: u8 = 0x40;
/// The last place at which a record of [`Vendor`]'s length may start.
const LAST_VENDOR: u16 = 0x100 - 20;

impl Function<'_> {
    /// All records, in the list's order.
    pub fn capabilities(&self) -> Result<Vec<Capability>, PciError> {
        let mut found = Vec::new();
        if !self.status()?.contains(Status::CAPABILITIES) {
            return Ok(found);
        }
        // One bit for each aligned place; 48 of the 64 are outside the header.
        let mut seen = 0_u64;
        let mut next = self.read_u8(reg::CAPABILITIES)? & !0b11;
        while next != 0 {
            let place = 1 << (next / 4);
            if next < FIRST {
                return Err(self.bad_capability(next, "it lies inside the header"));
            }
            if seen & place != 0 {
                return Err(self.bad_capability(next, "the list runs in circles"));
            }
            seen |= place;
            let [id, after] = self.read_u16(next.into())?.to_le_bytes();
            found.push(Capability { id: CapabilityId(id), offset: next.into() });
            next = after & !0b11;
        }
        Ok(found)
    }

    /// All records beyond the first 256 bytes, in the list's order; `None` where config space is not reached so far.
    ///
    /// Only a function of PCI Express has them.
    pub fn extended_capabilities(&self) -> Result<Option<Vec<ExtendedCapability>>, PciError> {
        let mut found: Vec<ExtendedCapability> = Vec::new();
        if self.capability(CapabilityId::EXPRESS)?.is_none() {
            return Ok(Some(found));
        }
        let mut offset = EXTENDED;
        while offset != 0 {
            let head = match self.read_u32(offset) {
                Ok(head) => head,
                Err(ConfigError::Refused { .. }) if found.is_empty() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if found.is_empty() && (head == 0 || head == u32::MAX) {
                break;
            }
            let [low, high, version, _] = head.to_le_bytes();
            let id = u16::from_le_bytes([low, high]);
            found.push(ExtendedCapability { id, version: version & 0xf, offset });
            let [_, _, low, high] = head.to_le_bytes();
            let next = u16::from_le_bytes([low, high]) >> 4 & !0b11;
            if (1..EXTENDED).contains(&next) {
                return Err(self.bad_capability(next, "it lies inside the first 256 bytes"));
            }
            if found.iter().any(|known| known.offset == next) {
                return Err(self.bad_capability(next, "the list runs in circles"));
            }
            offset = next;
        }
        Ok(Some(found))
    }

    /// The first record about `id`.
    pub fn capability(&self, id: CapabilityId) -> Result<Option<Capability>, PciError> {
        Ok(self.capabilities()?.into_iter().find(|cap| cap.id == id))
    }

    /// The vendor's own records, in the list's order; one that would leave config space is left out.
    pub fn vendor_capabilities(&self) -> Result<Vec<Vendor>, PciError> {
        let mut found = Vec::new();
        for Capability { id, offset } in self.capabilities()? {
            if id != CapabilityId::VENDOR || offset > LAST_VENDOR {
                continue;
            }
            let mut words = Vendor::default();
            for (word, offset) in words.iter_mut().zip((offset..).step_by(4)) {
                *word = self.read_u32(offset)?;
            }
            found.push(words);
        }
        Ok(found)
    }

    pub(super) fn bad_capability(&self, offset: impl Into<u16>, why: &'static str) -> PciError {
        PciError::BadCapability { bdf: self.bdf(), offset: offset.into(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{
        Bdf, ConfigAccess, Width,
        access::Refusal,
        fake::{FakeBus, FakeDevice},
    };
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn walk(device: FakeDevice) -> Result<Vec<Capability>, PciError> {
        let bdf = "00:01.0".parse().unwrap();
        let bus = FakeBus::hardware().with(bdf, device);
        Function::probe(&bus, bdf).unwrap().unwrap().capabilities()
    }

    #[test]
    fn records_come_in_list_order() {
        let device =
            FakeDevice::new(1, 2, 0).capability(0x80, 0x01, &[]).capability(0x50, 0x05, &[]);
        let found = walk(device).unwrap();
        let ids: Vec<u8> = found.iter().map(|cap| cap.id.0).collect();
        assert_eq!(ids, [0x05, 0x01]);
        assert_eq!(found[0].offset, 0x50);
        assert_eq!(walk(FakeDevice::new(1, 2, 0)), Ok(Vec::new()));
    }

    #[test]
    fn a_record_of_the_vendor_s_is_read_as_far_as_config_space_goes() {
        let bytes: Vec<u8> = (1..=18).collect();
        let read = |offset| {
            let device = FakeDevice::new(1, 2, 0)
                .capability(offset, 0x09, &bytes[..14])
                .capability(0x80, 0x05, &[])
                .capability(0x50, 0x09, &bytes);
            let bdf = "00:01.0".parse().unwrap();
            let bus = FakeBus::hardware().with(bdf, device);
            let function = Function::probe(&bus, bdf).unwrap().unwrap();
            function.vendor_capabilities().unwrap()
        };
        let words = [0x0605_0403, 0x0a09_0807, 0x0e0d_0c0b];
        let found = read(0xec);
        assert_eq!(found.len(), 2, "{found:x?}");
        assert!(found.iter().all(|record| record[1..4] == words), "{found:x?}");
        assert_eq!((found[0][0], found[0][4]), (0x0201_8009, 0x1211_100f));
        assert_eq!((found[1][0], found[1][4]), (0x0201_0009, 0));
        assert_eq!(read(0xf0).len(), 1);
    }

    #[test]
    fn circles_and_strays_are_named() {
        let circle = FakeDevice::new(1, 2, 0).capability(0x40, 0x01, &[]).bytes(0x41, &[0x40]);
        let error = walk(circle).unwrap_err();
        assert_eq!(error.code(), "pci-bad-capability");
        let stray = FakeDevice::new(1, 2, 0).capability(0x40, 0x01, &[]).bytes(0x41, &[0x10]);
        assert!(matches!(walk(stray), Err(PciError::BadCapability { offset: 0x10, .. })));
    }

    fn walk_on(device: FakeDevice) -> Result<Option<Vec<ExtendedCapability>>, PciError> {
        let bdf = "00:01.0".parse().unwrap();
        let bus = FakeBus::hardware().with(bdf, device);
        Function::probe(&bus, bdf).unwrap().unwrap().extended_capabilities()
    }

    fn express() -> FakeDevice {
        FakeDevice::new(1, 2, 0).capability(0x40, 0x10, &[2, 0])
    }

    #[test]
    fn records_beyond_the_first_256_bytes_are_those_of_pci_express() {
        let record = |head: u32| head.to_le_bytes();
        let two = |device: FakeDevice| {
            device.bytes(0x100, &record(0xffc2_0001)).bytes(0xffc, &record(0x0001_000d))
        };
        let found = walk_on(two(express())).unwrap().unwrap();
        let [first, last] = found[..] else { panic!("{found:?}") };
        assert_eq!(first, ExtendedCapability { id: 1, version: 2, offset: 0x100 });
        assert_eq!(last, ExtendedCapability { id: 0xd, version: 1, offset: 0xffc });
        assert_eq!(walk_on(two(FakeDevice::new(1, 2, 0))), Ok(Some(Vec::new())), "conventional");
        for nothing in [0, u32::MAX] {
            assert_eq!(walk_on(express().bytes(0x100, &record(nothing))), Ok(Some(Vec::new())));
        }
        // The lowest two bits of a pointer are reserved.
        let odd = walk_on(express().bytes(0x100, &record(0x1072_0001)).bytes(0x104, &record(3)));
        assert_eq!(odd.unwrap().unwrap()[1].offset, 0x104);
    }

    #[test]
    fn a_longer_list_that_breaks_off_is_an_error_and_one_out_of_reach_is_none() {
        let device = || express().bytes(0x100, &0xffc2_0001_u32.to_le_bytes());
        let bdf = "00:01.0".parse().unwrap();
        for (from, outcome) in [(0x100, Ok(None)), (0xffc, Err("config-refused"))] {
            let bus = Short { bus: FakeBus::hardware().with(bdf, device()), from };
            let found = Function::probe(&bus, bdf).unwrap().unwrap().extended_capabilities();
            assert_eq!(found.map_err(|error| error.code()), outcome, "{from:#x}");
        }
    }

    /// A bus whose config space is refused from an offset on.
    #[derive(Debug)]
    struct Short {
        bus: FakeBus,
        from: u16,
    }

    impl ConfigAccess for Short {
        fn read(&self, bdf: Bdf, offset: u16, width: Width) -> Result<u32, ConfigError> {
            let refusal = Refusal::BadOffset;
            let refused = ConfigError::Refused { bdf, offset, refusal };
            if offset < self.from { self.bus.read(bdf, offset, width) } else { Err(refused) }
        }

        fn write(
            &self,
            bdf: Bdf,
            offset: u16,
            width: Width,
            value: u32,
        ) -> Result<(), ConfigError> {
            self.bus.write(bdf, offset, width, value)
        }

        fn bars_are_virtual(&self) -> bool {
            false
        }

        fn lines_are_pirqs(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_longer_list_that_turns_back_is_an_error() {
        for (next, why) in [(0x100, "circles"), (0x0fc, "first 256"), (0x004, "first 256")] {
            let device = express().bytes(0x100, &(next << 20 | 0x1_0001_u32).to_le_bytes());
            let error = walk_on(device).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.code(), "pci-bad-capability");
        }
    }

    proptest! {
        #[test]
        fn any_longer_list_ends(
            space in proptest::collection::vec(any::<u8>(), 0xf00..=0xf00),
        ) {
            if let Ok(Some(found)) = walk_on(express().bytes(0x100, &space)) {
                prop_assert!(found.len() <= 0xf00 / 4);
            }
        }

        #[test]
        fn any_config_space_ends_the_walk(
            space in proptest::collection::vec(any::<u8>(), 0xc0..=0xc0),
            first: u8,
        ) {
            let device = FakeDevice::new(1, 2, 0)
                .capability(0x40, 0x01, &[])
                .bytes(0x40, &space)
                .bytes(0x34, &[first]);
            if let Ok(found) = walk(device) {
                prop_assert!(found.len() <= 48);
            }
        }
    }
}
