//! What something took, exactly: time over how often it was done. Nothing is rounded before it is printed, since
//! a nanosecond cut off is several per cent of what a short mapping takes.

use core::{cmp::Ordering, fmt};

/// The time of so many repetitions.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Nanoseconds, or another unit, of all of them.
    pub total: u64,
    /// How many; at least one.
    pub count: u64,
}

impl Cost {
    /// What is dearer than all else.
    pub const MAX: Self = Self { total: u64::MAX, count: 1 };

    /// The cost of one of `parts` equal parts of each repetition.
    #[must_use]
    pub const fn split(self, parts: u64) -> Self {
        Self { count: self.count * parts, ..self }
    }

    /// The cheaper of two.
    #[must_use]
    pub fn best(self, other: Self) -> Self {
        if other.cmp(self).is_lt() { other } else { self }
    }

    /// How many times as long as `other` it takes.
    pub const fn over(self, other: Self) -> Ratio {
        let (part, whole) = (self.cross(other), other.cross(self));
        Ratio { part, whole: if whole == 0 { 1 } else { whole } }
    }

    fn cmp(self, other: Self) -> Ordering {
        self.cross(other).cmp(&other.cross(self))
    }

    /// This total in the other's repetitions: what makes two costs of one denominator.
    const fn cross(self, other: Self) -> u128 {
        self.total as u128 * other.count as u128
    }
}

/// With one decimal.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, u128::from(self.total), u128::from(self.count.max(1)), 1)
    }
}

/// One cost in terms of another.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    part: u128,
    whole: u128,
}

/// With two decimals.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal(f, self.part, self.whole, 2)
    }
}

/// `part / whole` to that many decimals, the last one rounded; in the width asked for.
fn decimal(f: &mut fmt::Formatter<'_>, part: u128, whole: u128, decimals: usize) -> fmt::Result {
    let scale = 10_u64.pow(u32::try_from(decimals).unwrap_or(0));
    // Costs are 64-bit numbers multiplied: only what never is measured saturates.
    let scaled = part.saturating_mul(scale.into()).saturating_add(whole / 2) / whole;
    let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
    let text = alloc::format!("{}.{:0decimals$}", scaled / scale, scaled % scale);
    f.pad_integral(true, "", &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    const fn cost(total: u64, count: u64) -> Cost {
        Cost { total, count }
    }

    #[test]
    fn nothing_is_cut_off_before_it_is_printed() {
        assert_eq!(cost(779, 10).to_string(), "77.9");
        assert_eq!(cost(7796, 100).to_string(), "78.0");
        assert_eq!(cost(199, 10).over(cost(101, 10)).to_string(), "1.97");
        assert_eq!(format!("{:>10}", cost(5, 2)), "       2.5");
    }

    #[test]
    fn the_cheaper_one_is_told_by_less_than_a_nanosecond() {
        let (dear, cheap) = (cost(1001, 1000), cost(1000, 1000));
        assert_eq!(dear.best(cheap).total, 1000);
        assert_eq!(cheap.best(dear).total, 1000);
        assert_eq!(Cost::MAX.best(dear).total, 1001);
    }

    #[test]
    fn a_part_costs_its_share() {
        assert_eq!(cost(80, 1).split(8).to_string(), "10.0");
    }

    #[test]
    fn nothing_divides_by_zero() {
        assert_eq!(cost(0, 0).to_string(), "0.0");
        assert_eq!(cost(5, 1).over(cost(0, 1)).to_string(), "5.00");
    }
}
