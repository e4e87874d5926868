//! A ring's positions, without a device.
//!
//! ```text
//! 0        oldest                     tail             N
//! |· · · · ·|#########################|· · · · · · · · ·|      # the device's, at most N - 1 of them
//! ```

/// Which of `N` descriptors the device has; it is through with them strictly in turn.
///
/// It never has all of them: to the device oldest and tail in one place are an empty ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring<const N: usize> {
    oldest: usize,
    used: usize,
}

impl<const N: usize> Ring<N> {
    /// As after a reset: the device has none, and takes descriptor 0 first.
    pub(super) const EMPTY: Self = Self { oldest: 0, used: 0 };

    /// The descriptor to give to the device next; `None` if it has all that it may have.
    pub(super) const fn free(&self) -> Option<usize> {
        if self.used + 1 < N { Some((self.oldest + self.used) % N) } else { None }
    }

    /// The device has the descriptor that [`Ring::free`] named.
    pub(super) const fn take(&mut self) {
        debug_assert!(self.used + 1 < N, "the device has all that it may have");
        self.used += 1;
    }

    /// The descriptor the device will be through with first.
    pub(super) const fn oldest(&self) -> Option<usize> {
        if self.used == 0 { None } else { Some(self.oldest) }
    }

    /// The device is through with the oldest descriptor.
    pub(super) const fn give(&mut self) {
        debug_assert!(self.used > 0, "the device has none");
        self.oldest = (self.oldest + 1) % N;
        self.used -= 1;
    }

    /// For the device's tail register.
    #[expect(clippy::cast_possible_truncation, reason = "less than N, which is small")]
    pub(super) const fn tail(&self) -> u32 {
        ((self.oldest + self.used) % N) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_taken_and_given_in_turn() {
        let mut ring = Ring::<4>::EMPTY;
        for round in 0..9_usize {
            assert_eq!((ring.free(), ring.oldest()), (Some(round % 4), None));
            ring.take();
            assert_eq!((ring.oldest(), ring.tail() as usize), (Some(round % 4), (round + 1) % 4));
            ring.give();
        }
    }

    #[test]
    fn a_full_ring_does_not_look_like_an_empty_one() {
        let mut ring = Ring::<4>::EMPTY;
        while ring.free().is_some() {
            ring.take();
        }
        assert_eq!((ring.used, ring.oldest(), ring.tail()), (3, Some(0), 3));
        ring.give();
        assert_eq!(ring.free(), Some(3));
        ring.take();
        assert_eq!((ring.oldest(), ring.tail(), ring.free()), (Some(1), 0, None));
    }
}
