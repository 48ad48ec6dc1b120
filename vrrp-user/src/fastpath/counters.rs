//! What happened to a router's adverts, counted.

use std::iter::Sum;
use std::ops::AddAssign;

use vrrp_common::Reject;
use vrrp_common::abi::{self, PerCounter};

/// The counters of one router, of the kernel program, of the slow path, or of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters(PerCounter);

impl Counters {
    /// Adverts refused for this reason.
    pub fn refused(&self, reason: Reject) -> u64 {
        self.get(reason.index())
    }

    /// Adverts that passed every check and went no further than here: those handed on and those that
    /// were [`Counters::repeated`].
    pub fn accepted(&self) -> u64 {
        self.get(abi::COUNTER_ACCEPTED).wrapping_add(self.repeated())
    }

    /// Adverts that passed every check and repeated the one that is watched: noted, not handed on.
    pub fn repeated(&self) -> u64 {
        self.get(abi::COUNTER_REPEATED)
    }

    /// Adverts that passed every check in the kernel and went up the slow path for want of room in the
    /// ring, which counts them again.
    pub fn ring_full(&self) -> u64 {
        self.get(abi::COUNTER_RING_FULL)
    }

    /// Adverts that the kernel program left to the slow path for their shape, which counts them again.
    pub fn complex(&self) -> u64 {
        self.get(abi::COUNTER_COMPLEX)
    }

    /// Adds one to a counter: a [`Reject::index`] or one of the `COUNTER_*` of [`abi`].
    pub(crate) fn count(&mut self, counter: u32) {
        if let Some(value) = self.0.get_mut(counter as usize) {
            *value = value.wrapping_add(1);
        }
    }

    /// The same counters and so many repeated adverts, which the kernel program counts elsewhere.
    #[must_use]
    pub(super) fn with_repeated(mut self, repeated: u64) -> Self {
        if let Some(value) = self.0.get_mut(abi::COUNTER_REPEATED as usize) {
            *value = repeated;
        }
        self
    }

    fn get(&self, counter: u32) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }
}

impl From<PerCounter> for Counters {
    fn from(values: PerCounter) -> Self {
        Self(values)
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        for (to, from) in self.0.iter_mut().zip(other.0) {
            *to = to.wrapping_add(from);
        }
    }
}

impl<'a> Sum<&'a PerCounter> for Counters {
    fn sum<I: Iterator<Item = &'a PerCounter>>(values: I) -> Self {
        values.fold(Self::default(), |mut sum, values| {
            sum += Self(*values);
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_the_counters_apart() {
        let mut a = Counters::default();
        a.count(Reject::Ttl.index());
        a.count(abi::COUNTER_ACCEPTED);
        let mut b = Counters::default();
        b.count(Reject::Ttl.index());
        b.count(Reject::OwnSource.index());
        b.count(abi::COUNTER_RING_FULL);
        b.count(abi::COUNTER_COMPLEX);
        b.count(abi::COUNTER_REPEATED);
        a += b;
        assert_eq!(a.refused(Reject::Ttl), 2);
        assert_eq!(a.refused(Reject::Checksum), 0);
        assert_eq!(a.refused(Reject::OwnSource), 1);
        assert_eq!((a.accepted(), a.repeated()), (2, 1));
        assert_eq!((a.ring_full(), a.complex()), (1, 1));
    }
}
