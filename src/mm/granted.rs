//! What `XENMEM_exchange` grants this domain: each order at each width, and the rules that Xen keeps to in it.
//!
//! Two refusals are answers. EPERM depends on the order alone: the limit of domains like this one, which is
//! higher for one that has a device. ENOMEM depends on the width: Xen has no such block that low. What is
//! granted at a width is also granted at a wider one.

use super::{
    contiguous::{AcquireError, Order, ReleaseError},
    memory::Memory,
};
use crate::{addr::DmaMask, xen::errno::XenError};
use alloc::vec::Vec;
use core::fmt;

/// Address widths, in bits.
pub const WIDTHS: [u32; 5] = [24, 28, 30, 32, 36];
const MASKS: [DmaMask; WIDTHS.len()] = {
    let mut masks = [DmaMask::BITS_64; WIDTHS.len()];
    let mut n = 0;
    while n < WIDTHS.len() {
        masks[n] = DmaMask::from_bits(WIDTHS[n]).expect("1 to 64 bits");
        n += 1;
    }
    masks
};
/// Orders up to 2 MiB: what Xen permits any domain unless told otherwise (`memop-max-order=`).
const ANY_DOMAINS: usize = 10;

/// What came of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Xen gave such frames.
    Granted,
    /// It did not.
    Refused(XenError),
    /// The guest itself has not so many neighbouring pages.
    NoPages,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted => f.pad("ok"),
            Self::Refused(error) => f.pad(&alloc::string::ToString::to_string(error)),
            Self::NoPages => f.pad("no pages"),
        }
    }
}

/// An order's answers, by [`WIDTHS`].
pub type Row = [Answer; WIDTHS.len()];

/// The answers for every order, the smallest first.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    rows: Vec<Row>,
    limit: Option<Order>,
}

/// Why the answers could not be had, or can't be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GrantedError {
    /// Frames were lost on the way.
    #[error(transparent)]
    Exchange(AcquireError),
    /// Xen gave frames and would not take them back.
    #[error(transparent)]
    Release(ReleaseError),
    /// An answer that its rules do not allow.
    #[error("{order}: {flaw}")]
    Rule {
        /// What was asked for.
        order: Order,
        /// How it breaks the rules.
        flaw: Flaw,
    },
    /// What was granted before is not any more.
    #[error("{order} at {width} bits: {error}, granted with the device")]
    Lost {
        /// What was asked for.
        order: Order,
        /// How low.
        width: u32,
        /// What Xen says instead.
        error: XenError,
    },
}

/// What no row of answers may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Neither EPERM nor ENOMEM.
    #[error("{width} bits: {error}")]
    Refusal {
        /// The width asked for.
        width: u32,
        /// The refusal.
        error: XenError,
    },
    /// A wider one is easier to have.
    #[error("refused at {width} bits, granted at fewer")]
    Narrower {
        /// The width refused.
        width: u32,
    },
    /// A larger order is never permitted where a smaller one is not.
    #[error("permitted, though {first} is not")]
    Larger {
        /// The first that is not permitted.
        first: Order,
    },
}

impl GrantedError {
    /// A stable name for reports.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Exchange(_) => "memory-exchange",
            Self::Release(_) => "memory-release",
            Self::Rule { .. } => "memory-exchange-rule",
            Self::Lost { .. } => "memory-exchange-lost",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        ""
    }
}

protocol::coded!(GrantedError);

impl Granted {
    /// Asks Xen for each order at each width, and gives back at once what was granted; `each` sees every row.
    pub fn measure(
        memory: &Memory<'_>,
        each: &mut dyn FnMut(Order, &Row),
    ) -> Result<Self, GrantedError> {
        let mut granted = Self::default();
        for order in Order::every() {
            let row = ask(memory, order)?;
            each(order, &row);
            granted.add(order, row).map_err(|flaw| GrantedError::Rule { order, flaw })?;
        }
        Ok(granted)
    }

    /// How many were granted.
    pub fn count(&self) -> usize {
        self.rows.iter().flatten().filter(|answer| **answer == Answer::Granted).count()
    }

    /// The first order that is not permitted to this domain, whatever the width.
    pub const fn limit(&self) -> Option<Order> {
        self.limit
    }

    /// Whether any domain's orders are still granted as they were `before`, as long as Xen has the memory.
    pub fn still_has(&self, before: &Self) -> Result<(), GrantedError> {
        let rows = Order::every().zip(before.rows.iter().zip(&self.rows)).take(ANY_DOMAINS);
        let lost = rows.into_iter().find_map(|(order, (old, new))| {
            let both = old.iter().zip(new).zip(WIDTHS);
            both.into_iter().find_map(|((old, new), width)| match (*old, *new) {
                (_, Answer::Refused(XenError::NoMemory)) => None,
                (Answer::Granted, Answer::Refused(error)) => {
                    Some(GrantedError::Lost { order, width, error })
                }
                _ => None,
            })
        });
        lost.map_or(Ok(()), Err)
    }

    /// Adds the next order's answers if Xen's rules allow them.
    fn add(&mut self, order: Order, row: Row) -> Result<(), Flaw> {
        let mut above = false;
        for (answer, width) in row.into_iter().zip(WIDTHS) {
            match answer {
                Answer::Refused(XenError::NotPermitted | XenError::NoMemory) | Answer::NoPages => {}
                Answer::Refused(error) => return Err(Flaw::Refusal { width, error }),
                Answer::Granted => above = true,
            }
            if above && answer != Answer::Granted {
                return Err(Flaw::Narrower { width });
            }
        }
        let asked = row.iter().filter(|answer| **answer != Answer::NoPages).count();
        let denied = Answer::Refused(XenError::NotPermitted);
        let count = row.iter().filter(|answer| **answer == denied).count();
        if count > 0 {
            self.limit.get_or_insert(order);
        }
        match self.limit {
            Some(first) if count < asked => Err(Flaw::Larger { first }),
            _ => {
                self.rows.push(row);
                Ok(())
            }
        }
    }
}

/// Exchanges pages that nobody has mapped or written, there and back: they need not be mapped or wiped.
fn ask(memory: &Memory<'_>, order: Order) -> Result<Row, GrantedError> {
    let answer =
        |asked: Result<(), XenError>| asked.map_or_else(Answer::Refused, |()| Answer::Granted);
    match memory.try_exchanges(order, MASKS) {
        Ok(asked) => asked.map(|asked| asked.map(answer)).map_err(GrantedError::Release),
        Err(AcquireError::NoFreePages { .. }) => Ok([Answer::NoPages; WIDTHS.len()]),
        Err(error) => Err(GrantedError::Exchange(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: Answer = Answer::Refused(XenError::NotPermitted);
    const NONE: Answer = Answer::Refused(XenError::NoMemory);
    const OK: Answer = Answer::Granted;

    /// The rows of the first orders, added one after the other.
    fn rows(rows: &[Row]) -> Result<Granted, Flaw> {
        let mut granted = Granted::default();
        let mut each = Order::every().zip(rows);
        each.try_for_each(|(order, row)| granted.add(order, *row)).map(|()| granted)
    }

    #[test]
    fn what_xen_permits_is_counted_up_to_its_limit() {
        let granted =
            rows(&[[OK; 5], [NONE, NONE, OK, OK, OK], [DENIED; 5], [Answer::NoPages; 5]]).unwrap();
        assert_eq!(granted.count(), 8);
        assert_eq!(granted.limit(), Order::new(2));
        assert_eq!(rows(&[[NONE; 5]]).unwrap().limit(), None);
    }

    #[test]
    fn answers_stand_in_a_column() {
        assert_eq!(
            format!("{OK:>9}|{:<9}|{DENIED}", Answer::NoPages),
            "       ok|no pages |EPERM (-1)"
        );
        let lost = GrantedError::Lost { order: Order::ZERO, width: 32, error: XenError::Invalid };
        assert_eq!(lost.remedy(), "", "docs/suites.md has it");
    }

    #[test]
    fn answers_against_the_rules_are_told_from_those_within() {
        let invalid = Answer::Refused(XenError::Invalid);
        for (answers, flaw) in [
            (
                &[[OK, OK, invalid, OK, OK]][..],
                Flaw::Refusal { width: 30, error: XenError::Invalid },
            ),
            (&[[OK, NONE, OK, OK, OK]], Flaw::Narrower { width: 28 }),
            (&[[OK, OK, OK, OK, Answer::NoPages]], Flaw::Narrower { width: 36 }),
            (&[[DENIED, DENIED, DENIED, DENIED, OK]], Flaw::Larger { first: Order::ZERO }),
            (&[[DENIED; 5], [NONE; 5]], Flaw::Larger { first: Order::ZERO }),
        ] {
            assert_eq!(rows(answers).unwrap_err(), flaw, "{answers:?}");
        }
    }

    #[test]
    fn what_any_domain_has_is_not_lost_with_the_device_unless_memory_is_short() {
        let before = rows(&[[OK; 5]; 12]).unwrap();
        let mut short = [[OK; 5]; 12];
        short[9] = [NONE, NONE, OK, OK, OK];
        short[10] = [DENIED; 5];
        short[11] = [DENIED; 5];
        rows(&short).unwrap().still_has(&before).unwrap();
        let mut lost = [[DENIED; 5]; 12];
        lost[..9].fill([OK; 5]);
        let error = rows(&lost).unwrap().still_has(&before).unwrap_err();
        assert_eq!(error.code(), "memory-exchange-lost");
        assert!(error.to_string().starts_with("order 9"), "{error}");
    }

    use alloc::{format, string::ToString};
}
