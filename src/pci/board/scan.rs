//! Looking for all functions of a board: on its root buses, and behind bridges behind bridges.
//!
//! Which buses are roots only firmware's bytecode says. So bus 0 is followed first, and then each bus that no bridge
//! led to, in the order of their numbers. What bridges say comes from devices: a bus is looked at once, whoever leads there.

use super::super::{Bdf, Bus, ConfigAccess, ConfigError, Function, function::reg};
use alloc::vec::Vec;

/// Functions taken note of. Boards have some fifty.
const MOST: usize = 1024;
/// The bit in the header type that says that there may be functions beside the first.
const MULTI_FUNCTION: u8 = 0x80;
/// The header type of a bridge from PCI to PCI.
const BRIDGE: u8 = 1;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The functions, in the order of their addresses.
    pub(super) found: Vec<Bdf>,
    /// How many buses have any.
    pub(super) buses: usize,
    /// What can't be, and was passed over.
    pub(super) odd: Vec<ScanError>,
}

/// What a board says of its buses, and can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A bridge that leads back, or out of what it says itself.
    #[error("{bdf} leads to the buses {secondary:#04x} to {subordinate:#04x}: {why}")]
    Bridge {
        /// The bridge.
        bdf: Bdf,
        /// The bus right behind it.
        secondary: u8,
        /// The last bus behind it.
        subordinate: u8,
        /// Which rule that breaks.
        why: &'static str,
    },
    /// Nobody has that many.
    #[error("more than {MOST} functions: those after {0} were not looked at")]
    TooMany(Bdf),
}

impl ScanError {
    /// Stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bridge { .. } => "pci-bad-bridge",
            Self::TooMany(_) => "pci-too-many",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        "update the board's firmware, which numbers the buses; what is behind that was not tested"
    }
}

protocol::coded!(ScanError);

/// The buses of a segment, a bit each.
#[derive(Debug, Default)]
struct Seen([u64; 4]);

impl Seen {
    /// Takes note of a bus; false if that was done already.
    const fn insert(&mut self, number: u8) -> bool {
        let (word, bit) = (&mut self.0[number as usize / 64], 1 << (number % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// Looks at all buses of some segments.
pub(super) fn all(access: &dyn ConfigAccess, segments: &[u16]) -> Result<Scan, ConfigError> {
    let mut scan = Scan::default();
    for &segment in segments {
        if !scan.segment(access, segment)? {
            break;
        }
    }
    Ok(scan)
}

impl Scan {
    /// Looks at all buses of a segment; false when there was more than anybody has.
    fn segment(&mut self, access: &dyn ConfigAccess, segment: u16) -> Result<bool, ConfigError> {
        let mut seen = Seen::default();
        for root in 0..=u8::MAX {
            if !self.behind_root(access, Bus { segment, number: root }, &mut seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at a bus and all that are behind it, but for those that were seen.
    fn behind_root(
        &mut self,
        access: &dyn ConfigAccess,
        root: Bus,
        seen: &mut Seen,
    ) -> Result<bool, ConfigError> {
        let mut next = Vec::from([root.number]);
        while let Some(number) = next.pop() {
            if seen.insert(number) && !self.bus(access, Bus { number, ..root }, &mut next)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at a bus, and says which are behind its bridges; false when there was more than anybody has.
    fn bus(
        &mut self,
        access: &dyn ConfigAccess,
        bus: Bus,
        next: &mut Vec<u8>,
    ) -> Result<bool, ConfigError> {
        let before = self.found.len();
        for device in 0..32 {
            let Some(first) = Function::probe(access, bus.at(device << 3))? else { continue };
            let several = first.read_u8(reg::HEADER_TYPE)? & MULTI_FUNCTION != 0;
            for number in 0..if several { 8 } else { 1 } {
                let function = Function::probe(access, bus.at(device << 3 | number))?;
                next.extend(function.map(|it| self.add(&it)).transpose()?.flatten());
            }
            if self.found.len() > MOST {
                self.odd.push(ScanError::TooMany(bus.at(device << 3)));
                return Ok(false);
            }
        }
        self.buses += usize::from(self.found.len() > before);
        Ok(true)
    }

    /// Takes note of a function; the bus behind it, if it is a bridge.
    fn add(&mut self, function: &Function<'_>) -> Result<Option<u8>, ConfigError> {
        // In order, by insertion: the library's sort would be a fortieth of the image.
        if let Err(place) = self.found.binary_search(&function.bdf()) {
            self.found.insert(place, function.bdf());
        }
        self.behind(function)
    }

    /// The bus behind a function, if it is a bridge that firmware has set up.
    fn behind(&mut self, function: &Function<'_>) -> Result<Option<u8>, ConfigError> {
        if function.header_type()? != BRIDGE {
            return Ok(None);
        }
        let [_, secondary, subordinate, _] = function.read_u32(reg::BUSES)?.to_le_bytes();
        let bdf = function.bdf();
        let why = match secondary {
            0 => return Ok(None),
            _ if secondary <= bdf.bus().number => "it leads back",
            _ if secondary > subordinate => "the first comes after the last",
            _ => return Ok(Some(secondary)),
        };
        self.odd.push(ScanError::Bridge { bdf, secondary, subordinate, why });
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::fake::{FakeBus, FakeDevice};
    use proptest::prelude::*;
    use std::{format, string::String};

    fn device() -> FakeDevice {
        FakeDevice::new(0x8086, 0x10d3, 0x02_0000)
    }

    fn with(devices: &[(&str, FakeDevice)]) -> Scan {
        let bus = devices.iter().fold(FakeBus::hardware(), |bus, (bdf, device)| {
            bus.with(bdf.parse().unwrap(), device.clone())
        });
        all(&bus, &[0]).unwrap()
    }

    fn names(scan: &Scan) -> Vec<String> {
        scan.found.iter().map(|bdf| format!("{bdf}")[5..].into()).collect()
    }

    #[test]
    fn functions_are_found_behind_bridges_and_on_roots_that_nothing_leads_to() {
        let several = device().bytes(0x0e, &[0x80]);
        let found = with(&[
            ("00:00.0", several.clone()),
            ("00:00.7", device()),
            ("00:01.0", FakeDevice::bridge(0, 1, 2)),
            ("01:00.0", FakeDevice::bridge(1, 2, 2)),
            ("02:1f.0", device()),
            ("40:00.0", FakeDevice::bridge(0x40, 0x41, 0xff)),
            ("41:03.0", several),
            ("ff:1f.0", device()),
        ]);
        let all = [
            "00:00.0", "00:00.7", "00:01.0", "01:00.0", "02:1f.0", "40:00.0", "41:03.0", "ff:1f.0",
        ];
        assert_eq!(names(&found), all);
        assert_eq!((found.buses, found.odd), (6, Vec::new()));
    }

    #[test]
    fn a_function_beside_a_device_of_one_is_an_echo_of_it() {
        let found = with(&[("00:02.0", device()), ("00:02.1", device()), ("00:03.1", device())]);
        assert_eq!(names(&found), ["00:02.0"]);
    }

    #[test]
    fn bridges_that_lead_back_or_astray_are_named_and_not_followed() {
        for (primary, secondary, last, odd) in [
            ("03:00.0", 3, 3, true),
            ("03:00.0", 1, 9, true),
            ("03:00.0", 5, 4, true),
            ("03:00.0", 0, 0, false),
            ("03:00.0", 4, 4, false),
        ] {
            let found =
                with(&[(primary, FakeDevice::bridge(3, secondary, last)), ("04:00.0", device())]);
            assert_eq!(names(&found), [primary, "04:00.0"], "{secondary}");
            let codes: Vec<_> = found.odd.iter().map(ScanError::code).collect();
            assert_eq!(codes, if odd { &["pci-bad-bridge"][..] } else { &[] }, "{secondary}");
        }
    }

    #[test]
    fn two_bridges_to_one_bus_show_it_once() {
        let bridge = || FakeDevice::bridge(0, 1, 1);
        let found = with(&[("00:01.0", bridge()), ("00:02.0", bridge()), ("01:00.0", device())]);
        assert_eq!(names(&found), ["00:01.0", "00:02.0", "01:00.0"]);
    }

    /// Answers everywhere, with bridges to anywhere.
    #[derive(Debug)]
    struct Hall(u8);

    impl ConfigAccess for Hall {
        fn read(
            &self,
            bdf: Bdf,
            offset: u16,
            width: crate::pci::Width,
        ) -> Result<u32, ConfigError> {
            let next = u32::from(bdf.bus().number.wrapping_add(self.0));
            let word = match offset & !3 {
                0x0c => 0x81 << 16,
                0x18 => next << 8 | 0xff << 16,
                _ => 0x1234_1111,
            };
            Ok(word >> (8 * (offset % 4)) & width.mask())
        }

        fn write(&self, _: Bdf, _: u16, _: crate::pci::Width, _: u32) -> Result<(), ConfigError> {
            panic!("looking changes nothing")
        }
    }

    #[test]
    fn a_hall_of_mirrors_ends() {
        for step in [0, 1, 0x80, 0xff] {
            let found = all(&Hall(step), &[0]).unwrap();
            assert!((MOST..=MOST + 8).contains(&found.found.len()), "{step}");
            assert_eq!(found.odd.last().unwrap().code(), "pci-too-many");
        }
    }

    proptest! {
        #[test]
        fn whatever_bridges_say_each_function_is_found_once(
            says in proptest::collection::vec((any::<u8>(), 0..32_u8, any::<u8>(), any::<u8>()), 0..20),
        ) {
            let bus = FakeBus::hardware();
            for (number, device, secondary, subordinate) in says {
                let at = Bus { segment: 0, number }.at(device << 3);
                bus.insert(at, FakeDevice::bridge(number, secondary, subordinate));
            }
            prop_assert_eq!(all(&bus, &[0]).unwrap().found, bus.functions());
        }
    }
}
