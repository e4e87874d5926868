//! Many pages of addresses as few spans, in a table that never grows: where there are more than fit, the two nearest become
//! one, which then says how many of its pages are meant.

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Addresses from the first byte to the last, and how many pages of them are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Pages of 4 KiB in between; all of them, unless spans were joined.
    pub pages: u64,
}

/// At most `N` spans, in the order of their addresses, without a byte in two of them.
#[derive(Clone, Copy, Debug)]
pub struct Spans<const N: usize> {
    all: [Span; N],
    used: usize,
}

impl<const N: usize> Default for Spans<N> {
    fn default() -> Self {
        Self { all: [Span::default(); N], used: 0 }
    }
}

impl<const N: usize> Spans<N> {
    /// The spans.
    pub fn all(&self) -> &[Span] {
        &self.all[..self.used]
    }

    /// Adds `pages` pages from that address on, none of which is there yet.
    pub fn add(&mut self, first: u64, pages: u64) {
        let last = first.saturating_add(pages.saturating_mul(PAGE).saturating_sub(1));
        if pages == 0 || N == 0 {
            return;
        }
        let mut new = Span { first, last, pages };
        let at = self.all().partition_point(|span| span.last < first.saturating_sub(1));
        // Those that it meets become part of it.
        while let Some(met) = self.all().get(at).filter(|met| met.first <= last.saturating_add(1)) {
            new = joined(*met, new);
            self.remove(at);
        }
        if self.used == N {
            return self.squeeze(at, new);
        }
        self.insert(at, new);
    }

    /// Adds a span where there is no room: it, or two others, go together.
    fn squeeze(&mut self, at: usize, new: Span) {
        let gap = |low: Span, high: Span| high.first - low.last;
        let between = (1..N).min_by_key(|&n| gap(self.all[n - 1], self.all[n]));
        let narrowest = between.map_or(u64::MAX, |n| gap(self.all[n - 1], self.all[n]));
        let below = at.checked_sub(1).map(|n| (gap(self.all[n], new), n));
        let above = self.all().get(at).map(|high| (gap(new, *high), at));
        let near = below.into_iter().chain(above).min();
        match (near, between) {
            (Some((near, n)), _) if near <= narrowest => self.all[n] = joined(self.all[n], new),
            (_, Some(n)) => {
                self.all[n - 1] = joined(self.all[n - 1], self.all[n]);
                self.remove(n);
                self.insert(if n <= at { at - 1 } else { at }, new);
            }
            _ => {}
        }
    }

    fn remove(&mut self, at: usize) {
        self.all.copy_within(at + 1..self.used, at);
        self.used -= 1;
    }

    fn insert(&mut self, at: usize, span: Span) {
        self.all.copy_within(at..self.used, at + 1);
        self.all[at] = span;
        self.used += 1;
    }
}

fn joined(one: Span, other: Span) -> Span {
    Span {
        first: one.first.min(other.first),
        last: one.last.max(other.last),
        pages: one.pages.saturating_add(other.pages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeSet, vec::Vec};
    use proptest::prelude::*;

    fn spans<const N: usize>(runs: &[(u64, u64)]) -> Vec<(u64, u64, u64)> {
        let mut spans = Spans::<N>::default();
        runs.iter().for_each(|&(page, count)| spans.add(page * PAGE, count));
        let pages = |span: &Span| (span.first / PAGE, (span.last + 1) / PAGE, span.pages);
        spans.all().iter().map(pages).collect()
    }

    #[test]
    fn neighbours_are_one_span_in_whatever_order_they_come() {
        assert_eq!(spans::<8>(&[(4, 2), (0, 2), (2, 2), (9, 1)]), [(0, 6, 6), (9, 10, 1)]);
    }

    #[test]
    fn the_nearest_go_together_where_there_is_no_room() {
        assert_eq!(spans::<2>(&[(0, 1), (100, 1), (103, 1)]), [(0, 1, 1), (100, 104, 2)]);
        assert_eq!(spans::<2>(&[(0, 1), (3, 1), (100, 1)]), [(0, 4, 2), (100, 101, 1)]);
        assert_eq!(spans::<2>(&[(0, 1), (100, 1), (50, 1)]), [(0, 51, 2), (100, 101, 1)]);
        assert_eq!(spans::<1>(&[(7, 1), (1, 1)]), [(1, 8, 2)]);
    }

    #[test]
    fn the_ends_of_all_addresses_are_addresses_too() {
        let mut spans = Spans::<4>::default();
        [(u64::MAX - 4095, 1), (0, 0), (0, 1)].iter().for_each(|&(at, pages)| spans.add(at, pages));
        let ends = spans.all().iter().map(|span| (span.first, span.last));
        assert_eq!(ends.collect::<Vec<_>>(), [(0, 4095), (u64::MAX - 4095, u64::MAX)]);
    }

    proptest! {
        #[test]
        fn each_page_is_in_one_span_and_counted_once(pages in prop::collection::btree_set(0..400_u64, 0..120)) {
            let mut order: Vec<u64> = pages.iter().copied().collect();
            order.sort_by_key(|page| page.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let runs: Vec<_> = order.iter().map(|page| (*page, 1)).collect();
            let found = spans::<5>(&runs);
            prop_assert!(found.windows(2).all(|two| two[0].1 < two[1].0));
            for (first, end, count) in &found {
                let inside: BTreeSet<_> = pages.range(first..end).collect();
                prop_assert_eq!(inside.len() as u64, *count);
                prop_assert!(inside.contains(first) && inside.contains(&(end - 1)));
            }
            prop_assert_eq!(found.iter().map(|(.., count)| count).sum::<u64>(), pages.len() as u64);
        }
    }
}
