//! Which operation was made to fail, in a run where one was: `# failed site=12 operation=send in=pci way=0x…,0x…` as soon
//! as there is a report to say it in, and `# sites reached=240` at the end.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::totals::{BadTotals, fields, number};

/// The operations after whose failure something may still be held: they give something back, or cut off a peer that has it.
pub const MAY_KEEP: [&str; 11] = [
    "remap",
    "mmu-update",
    "exchange",
    "exchange-done",
    "poll",
    "close-port",
    "send",
    "unmap-pirq",
    "revoke",
    "store-remove",
    "store-unwatch",
];

/// The call site whose operation failed on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSite {
    /// Its number, from 1, in the order in which sites are reached.
    pub site: u64,
    /// What failed.
    pub operation: String,
    /// The stage or suite that ran.
    pub place: String,
    /// Return addresses on the stack, innermost first.
    pub way: Vec<u64>,
}

impl FailedSite {
    /// Whether something may still be held because this failed. Of an operation that nobody knows nothing may.
    pub fn may_keep(&self) -> bool {
        MAY_KEEP.contains(&&*self.operation)
    }
}

impl fmt::Display for FailedSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { site, operation, place, way } = self;
        write!(f, "site={site} operation={operation} in={place} way=")?;
        way.iter().enumerate().try_for_each(|(place, address)| {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{address:#x}")
        })
    }
}

impl FromStr for FailedSite {
    type Err = BadTotals;

    fn from_str(text: &str) -> Result<Self, BadTotals> {
        let [site, operation, place, way] =
            fields(text, ["site", "operation", "in", "way"]).ok_or(BadTotals)?;
        let is_word = |text: &str| {
            text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if [operation, place].iter().any(|text| text.is_empty() || !is_word(text)) {
            return Err(BadTotals);
        }
        let addresses = way.split(',').filter(|_| !way.is_empty());
        Ok(Self {
            site: number(site).filter(|site| *site > 0).ok_or(BadTotals)?,
            operation: operation.to_owned(),
            place: place.to_owned(),
            way: addresses.map(super::hex).collect::<Option<_>>().ok_or(BadTotals)?,
        })
    }
}

/// How many call sites a run reached in which one was to fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    /// So many.
    pub reached: u64,
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reached={}", self.reached)
    }
}

impl FromStr for Sites {
    type Err = BadTotals;

    fn from_str(text: &str) -> Result<Self, BadTotals> {
        let [reached] = fields(text, ["reached"]).ok_or(BadTotals)?;
        Ok(Self { reached: number(reached).ok_or(BadTotals)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_printed_is_what_is_read() {
        for way in [Vec::new(), Vec::from([0xffff_ffff_8010_1234]), Vec::from([1, 2])] {
            let failed =
                FailedSite { site: 12, operation: "close-port".into(), place: "pci".into(), way };
            assert_eq!(failed.to_string().parse(), Ok(failed));
        }
        let sites = Sites { reached: 240 };
        assert_eq!(sites.to_string().parse(), Ok(sites));
    }

    #[test]
    fn something_may_be_kept_only_where_giving_back_failed() {
        let failed = |operation: &str| FailedSite {
            site: 1,
            operation: operation.into(),
            place: "pci".into(),
            way: Vec::new(),
        };
        assert!(MAY_KEEP.iter().all(|operation| failed(operation).may_keep()));
        for operation in ["alloc-unbound", "grant", "close", "nobody-knows-it"] {
            assert!(!failed(operation).may_keep(), "{operation}");
        }
    }

    #[test]
    fn less_or_more_or_other_fields_are_refused() {
        let good = "site=12 operation=send in=pci way=0x1,0x2";
        assert!(good.parse::<FailedSite>().is_ok());
        for (what, other) in [
            ("site=12 ", ""),
            ("site=12", "site=0"),
            ("site=12", "site=-1"),
            ("operation=send", "operation="),
            ("operation=send", "operation=Send"),
            ("in=pci", "in=pci,irq"),
            ("0x1,", "1,"),
            ("0x1,", ","),
            (" way", " more=1 way"),
            ("0x2", "0x2 more=1"),
        ] {
            assert_eq!(good.replace(what, other).parse::<FailedSite>(), Err(BadTotals), "{other}");
        }
        for text in ["reached=", "reached=-1", "reached=1 more=1", "sites=1"] {
            assert_eq!(text.parse::<Sites>(), Err(BadTotals), "{text}");
        }
    }
}
