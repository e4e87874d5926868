//! A covering array: few rows in which each two values of different axes meet, as far as they can.

use std::collections::BTreeSet;

/// A value of each axis, by its number.
pub(super) type Row = Vec<usize>;
/// Two axes and a value of each.
type Pair = [(usize, usize); 2];

/// Rows for axes with so many values each, in which every pair meets that `can` be together in a row.
///
/// Greedy: a row begins with the first pair that is left, and takes for each other axis the value with the most of what is left.
pub(super) fn rows(axes: &[usize], can: impl Fn(&[Option<usize>]) -> bool) -> Vec<Row> {
    let mut left: BTreeSet<Pair> = pairs(axes).into_iter().collect();
    let mut rows = Vec::new();
    while let Some(pair) = left.pop_first() {
        let mut row = vec![None; axes.len()];
        pair.iter().for_each(|(axis, value)| row[*axis] = Some(*value));
        if let Some(row) = filled(row, axes, &left, &can) {
            left.retain(|[a, b]| row[a.0] != a.1 || row[b.0] != b.1);
            rows.push(row);
        }
    }
    rows
}

/// All pairs.
pub(super) fn pairs(axes: &[usize]) -> Vec<Pair> {
    let values = |axis: usize| (0..axes[axis]).map(move |value| (axis, value));
    let later = |axis: usize| (axis + 1..axes.len()).flat_map(values);
    let firsts = (0..axes.len()).flat_map(values);
    firsts.flat_map(|first| later(first.0).map(move |second| [first, second])).collect()
}

/// The row with its open axes filled, the best value first; none if there is no way to.
fn filled(
    row: Vec<Option<usize>>,
    axes: &[usize],
    left: &BTreeSet<Pair>,
    can: &impl Fn(&[Option<usize>]) -> bool,
) -> Option<Row> {
    if !can(&row) {
        return None;
    }
    let Some(axis) = row.iter().position(Option::is_none) else {
        return row.into_iter().collect();
    };
    let gain = |value: usize| {
        let meets = |[a, b]: &&Pair| {
            let has = |at: &(usize, usize)| *at == (axis, value) || row[at.0] == Some(at.1);
            [a, b].iter().any(|at| **at == (axis, value)) && has(a) && has(b)
        };
        left.iter().filter(meets).count()
    };
    let mut values: Vec<usize> = (0..axes[axis]).collect();
    values.sort_by_key(|value| std::cmp::Reverse(gain(*value)));
    values.into_iter().find_map(|value| {
        let mut row = row.clone();
        row[axis] = Some(value);
        filled(row, axes, left, can)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meet(rows: &[Row], [a, b]: Pair) -> bool {
        rows.iter().any(|row| row[a.0] == a.1 && row[b.0] == b.1)
    }

    proptest! {
        #[test]
        fn each_pair_that_can_be_meets_and_no_other(
            axes in proptest::collection::vec(1_usize..5, 2..5),
            no in proptest::collection::vec((0_usize..6, 0_usize..6), 0..3),
        ) {
            // A value of the first axis, and one of the last, that can't be together.
            let last = axes.len() - 1;
            let can = |row: &[Option<usize>]| {
                !no.iter().any(|(a, b)| row[0] == Some(*a) && row[last] == Some(*b))
            };
            let rows = rows(&axes, can);
            let whole = |row: &Row| row.iter().copied().map(Some).collect::<Vec<_>>();
            prop_assert!(rows.iter().all(|row| can(&whole(row))));
            for pair in pairs(&axes) {
                // It can be if some row at all has it.
                let mut every = vec![Vec::new()];
                for count in &axes {
                    every = every
                        .iter()
                        .flat_map(|row: &Row| (0..*count).map(|n| [&row[..], &[n]].concat()))
                        .collect();
                }
                let possible: Vec<Row> = every.into_iter().filter(|row| can(&whole(row))).collect();
                prop_assert_eq!(meet(&rows, pair), meet(&possible, pair), "{:?}", pair);
            }
        }
    }

    #[test]
    fn rows_are_few() {
        let rows = rows(&[4, 3, 6, 4, 3], |_| true);
        assert!((24..=30).contains(&rows.len()), "{} rows", rows.len());
    }
}
