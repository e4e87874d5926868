//! Whether a figure that was taken again and again grew on the way.

/// A figure by the hour it was taken at.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    points: Vec<(f64, f64)>,
}

impl Series {
    pub(super) fn add(&mut self, hour: f64, value: f64) {
        self.points.push((hour, value));
    }

    pub(super) const fn len(&self) -> usize {
        self.points.len()
    }

    /// The medians of its first and its last third.
    pub(super) fn thirds(&self) -> (f64, f64) {
        let third = self.points.len().div_ceil(3);
        let of = |points: &[(f64, f64)]| median(points.iter().map(|point| point.1).collect());
        (of(&self.points[..third]), of(&self.points[self.points.len() - third..]))
    }

    /// By how much it grew from the first point to the last: Theil and Sen's slope, the median of the slopes between
    /// each two points, which a few wild points do not move.
    pub(super) fn growth(&self) -> f64 {
        let mut slopes = Vec::new();
        for (index, (hour, value)) in self.points.iter().enumerate() {
            let later = self.points[index + 1..].iter().filter(|point| point.0 > *hour);
            slopes.extend(later.map(|point| (point.1 - value) / (point.0 - hour)));
        }
        let span = self.points.last().map_or(0.0, |last| last.0 - self.points[0].0);
        median(slopes) * span
    }

    /// The same as a part of what it usually is.
    pub(super) fn drift(&self) -> f64 {
        let usual = median(self.points.iter().map(|point| point.1).collect());
        if usual == 0.0 { 0.0 } else { self.growth() / usual }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: impl IntoIterator<Item = f64>) -> Series {
        let hours = (0_u32..).map(|number| f64::from(number) / 10.0);
        Series { points: hours.zip(values).collect() }
    }

    #[test]
    fn what_grows_steadily_is_seen() {
        let grows = series((0..21).map(|n| 10.0 + f64::from(n) * 0.1));
        assert!((grows.growth() - 2.0).abs() < 1e-9);
        assert!((grows.drift() - 2.0 / 11.0).abs() < 1e-9);
        assert!(grows.thirds().1 > grows.thirds().0);
    }

    #[test]
    fn a_few_wild_values_are_no_drift() {
        let wild = (0..20).map(|n| if n >= 15 { 100.0 } else { 10.0 });
        assert!(series(wild).drift().abs() < 1e-9);
    }

    #[test]
    fn too_few_values_have_none() {
        for values in [&[][..], &[3.0]] {
            let series = series(values.iter().copied());
            assert!(series.drift().abs() < f64::EPSILON && series.growth().abs() < f64::EPSILON);
        }
        assert_eq!(series([5.0]).thirds(), (5.0, 5.0));
        assert_eq!(Series::default().thirds(), (0.0, 0.0));
    }
}
