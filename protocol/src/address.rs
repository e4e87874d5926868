//! Where a PCI function is: segment, bus, device, function, as `lspci -D` and xl write it.

use core::{fmt, str::FromStr};

/// A bus within a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bus {
    /// PCI segment ("domain" in Linux and Xen).
    pub segment: u16,
    /// Bus number.
    pub number: u8,
}

impl Bus {
    /// The bus pciback puts everything on unless told otherwise.
    pub const FIRST: Self = Self { segment: 0, number: 0 };

    /// The function with this device and function number, packed as `device << 3 | function`.
    pub const fn at(self, devfn: u8) -> Bdf {
        Bdf { bus: self, devfn }
    }

    /// Every function that it has room for: 32 devices of 8.
    pub fn functions(self) -> impl Iterator<Item = Bdf> {
        (0..=u8::MAX).map(move |devfn| self.at(devfn))
    }
}

/// A function's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf {
    bus: Bus,
    devfn: u8,
}

impl Bdf {
    /// The bus it is on.
    pub const fn bus(self) -> Bus {
        self.bus
    }

    /// Device number, 0 to 31.
    pub const fn device(self) -> u8 {
        self.devfn >> 3
    }

    /// Function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.devfn & 7
    }

    /// Both, packed as `device << 3 | function`.
    pub const fn devfn(self) -> u8 {
        self.devfn
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}", self.segment, self.number)
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:02x}.{:x}", self.bus, self.device(), self.function())
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no PCI address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PCI address: expected ssss:bb for a bus, [ssss:]bb:dd.f for a function, in hex")]
pub struct ParseError;

impl FromStr for Bus {
    type Err = ParseError;

    /// `ssss:bb`, the form of pciback's `root-N`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (segment, number) = text.split_once(':').ok_or(ParseError)?;
        Ok(Self { segment: hex(segment, u16::MAX)?, number: narrow(number, u8::MAX)? })
    }
}

impl FromStr for Bdf {
    type Err = ParseError;

    /// `ssss:bb:dd.f` or `bb:dd.f`; the function may have two digits, as in pciback's `vdev-N`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (bus, slot) = text.rsplit_once(':').ok_or(ParseError)?;
        let (device, function) = slot.split_once('.').ok_or(ParseError)?;
        let bus = match bus.contains(':') {
            true => bus.parse()?,
            false => Bus { segment: 0, number: narrow(bus, u8::MAX)? },
        };
        Ok(bus.at(narrow(device, 31)? << 3 | narrow(function, 7)?))
    }
}

fn narrow(digits: &str, max: u8) -> Result<u8, ParseError> {
    let value = hex(digits, max.into())?;
    u8::try_from(value).map_err(|_| ParseError)
}

fn hex(digits: &str, max: u16) -> Result<u16, ParseError> {
    // from_str_radix takes a sign, an address has none.
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ParseError);
    }
    match u16::from_str_radix(digits, 16) {
        Ok(value) if value <= max => Ok(value),
        _ => Err(ParseError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn short_and_two_digit_forms_parse() {
        let bdf: Bdf = "03:1f.7".parse().unwrap();
        assert_eq!(format!("{bdf}"), "0000:03:1f.7");
        assert_eq!("0000:03:1f.07".parse(), Ok(bdf));
        assert_eq!((bdf.device(), bdf.function()), (31, 7));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "0",
            ":",
            ".",
            "00:00",
            "00:20.0",
            "00:00.8",
            "100:00.0",
            "0:0:0:0.0",
            "+1:00.0",
            "00:00.",
            "10000:00:00.0",
            "-1:00:00.0",
        ] {
            assert_eq!(text.parse::<Bdf>(), Err(ParseError), "{text}");
        }
        assert_eq!("0000:100".parse::<Bus>(), Err(ParseError));
    }

    proptest! {
        #[test]
        fn every_address_survives_text(segment: u16, number: u8, devfn: u8) {
            let bdf = Bus { segment, number }.at(devfn);
            prop_assert_eq!(format!("{bdf}").parse(), Ok(bdf));
            prop_assert_eq!(format!("{}", bdf.bus()).parse(), Ok(bdf.bus()));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<Bdf>();
            let _ = text.parse::<Bus>();
        }
    }
}
