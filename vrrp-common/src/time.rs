//! Time as integer nanoseconds: the clock's reading, Skew_Time, Master_Down_Interval.
//!
//! No step here rounds to a coarser unit, so the skew at an interval of 10 ms is 39 µs per point of
//! priority and not zero.

use core::time::Duration;

use crate::ids::{Priority, Version};

const NANOS: u64 = 1_000_000_000;
/// The unit of an interval in a VRRPv3 advert.
pub const CENTISECOND: Duration = Duration::from_millis(10);

/// A reading of `CLOCK_MONOTONIC` in nanoseconds, the clock of `bpf_ktime_get_ns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The instant that many nanoseconds after the clock's zero.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero where `earlier` is the later one. Kernel stamps and clock
    /// readings of two cores may cross, and a crossing must not look like 584 years.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl core::ops::Sub<Duration> for Instant {
    type Output = Self;

    /// The instant so much earlier, no earlier than the clock's beginning.
    fn sub(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

/// An interval between adverts: more than nothing, 255 s at most, so that products stay within `u64`
/// nanoseconds.
///
/// Which intervals an advert can name depends on its version: [`Interval::field`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(Duration);

impl Interval {
    /// One second, the default of both versions (RFC 3768 §6.1, RFC 9568 §6.1).
    pub const DEFAULT: Self = Self(Duration::from_secs(1));
    const LONGEST: Duration = Duration::from_secs(255);

    /// The interval of this length; `None` for none at all and for more than 255 s.
    pub const fn new(length: Duration) -> Option<Self> {
        if length.is_zero() || length.as_nanos() > Self::LONGEST.as_nanos() {
            return None;
        }
        Some(Self(length))
    }

    /// The interval an advert's field names: seconds in VRRPv2, centiseconds in VRRPv3. `None` for 0,
    /// which names none, and for what fits no field.
    pub const fn of_field(version: Version, field: u16) -> Option<Self> {
        match version {
            Version::V2 => Self::new(Duration::from_secs(field as u64)),
            Version::V3 if field <= 4095 => Self::new(Duration::from_millis(field as u64 * 10)),
            Version::V3 => None,
        }
    }

    /// The field that names the interval; `None` where the version can't say it (VRRPv2: whole seconds,
    /// 1 to 255, RFC 3768 §5.3.7; VRRPv3: centiseconds, 1 to 4095, RFC 9568 §5.2.7 and erratum 8301).
    pub const fn field(self, version: Version) -> Option<u16> {
        let (unit, most) = match version {
            Version::V2 => (NANOS, 255),
            Version::V3 => (CENTISECOND.as_nanos() as u64, 4095),
        };
        let nanos = self.nanos();
        let field = nanos / unit;
        if nanos.is_multiple_of(unit) && field >= 1 && field <= most {
            return Some(field as u16);
        }
        None
    }

    /// Its length.
    pub const fn get(self) -> Duration {
        self.0
    }

    const fn nanos(self) -> u64 {
        self.0.as_nanos() as u64
    }
}

impl PartialEq<Duration> for Interval {
    fn eq(&self, length: &Duration) -> bool {
        self.0 == *length
    }
}

/// Skew_Time: how much longer a router of lower priority waits.
///
/// - VRRPv2 (RFC 3768 §6.1): (256 - priority) / 256 seconds, whatever the interval.
/// - VRRPv3 (RFC 9568 §6.1): (256 - priority) * Active_Adver_Interval / 256.
///
/// Half nanoseconds round up, so that a router never speaks early.
pub fn skew(version: Version, priority: Priority, interval: Interval) -> Duration {
    let parts = 256 - u64::from(priority.get());
    let base = match version {
        Version::V2 => NANOS,
        Version::V3 => interval.nanos(),
    };
    Duration::from_nanos((parts * base).div_ceil(256))
}

/// Intervals without an advert after which a Backup takes over, where nothing else is configured
/// (RFC 3768 §6.1, RFC 9568 §6.1).
pub const DOWN_ADVERTS: u8 = 3;

/// Master_Down_Interval (Active_Down_Interval in RFC 9568 §6.1): so many intervals and the skew.
///
/// `interval` is the configured one in VRRPv2 and the Active Router's in VRRPv3; `adverts` is
/// [`DOWN_ADVERTS`] in both.
pub fn master_down(
    version: Version,
    priority: Priority,
    interval: Interval,
    adverts: u8,
) -> Duration {
    interval.get() * u32::from(adverts) + skew(version, priority, interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::v2_default(Version::V2, 100, 1000, 3_609_375_000)]
    #[case::v2_long_interval_same_skew(Version::V2, 100, 10_000, 30_609_375_000)]
    #[case::v2_high(Version::V2, 254, 1000, 3_007_812_500)]
    #[case::v3_default(Version::V3, 100, 1000, 3_609_375_000)]
    #[case::v3_hundred_ms(Version::V3, 100, 100, 360_937_500)]
    #[case::v3_ten_ms(Version::V3, 100, 10, 36_093_750)]
    #[case::v3_ten_ms_high(Version::V3, 254, 10, 30_078_125)]
    #[case::v3_half_nanosecond_rounds_up(Version::V3, 255, 10, 30_039_063)]
    #[case::v3_longest(Version::V3, 1, 40_950, 163_640_039_063)]
    fn down_interval(
        #[case] version: Version,
        #[case] priority: u8,
        #[case] ms: u64,
        #[case] nanos: u64,
    ) {
        let interval = Interval::new(Duration::from_millis(ms)).unwrap();
        let down = master_down(version, Priority::new(priority), interval, DOWN_ADVERTS);
        assert_eq!(down, Duration::from_nanos(nanos));
    }

    /// The longest that can be configured stays far from the end of the clock.
    #[test]
    fn a_hundred_intervals_of_the_longest_kind() {
        let longest = Interval::new(Interval::LONGEST).unwrap();
        let down = master_down(Version::V2, Priority::new(1), longest, 100);
        assert_eq!(down, Duration::from_nanos(25_500_996_093_750));
    }

    #[test]
    fn fields_refuse_what_the_wire_cannot_say() {
        let field = |version, ms| {
            Interval::new(Duration::from_millis(ms)).and_then(|interval| interval.field(version))
        };
        for (version, ms, right) in [
            (Version::V2, 400, None),
            (Version::V2, 0, None),
            (Version::V2, 256_000, None),
            (Version::V2, 255_000, Some(255)),
            (Version::V3, 5, None),
            (Version::V3, 40_950, Some(4095)),
            (Version::V3, 40_960, None),
        ] {
            assert_eq!(field(version, ms), right, "version {version}, {ms} ms");
        }
        assert_eq!(Interval::of_field(Version::V3, 0), None);
        assert_eq!(Interval::of_field(Version::V2, 256), None);
        assert_eq!(Interval::of_field(Version::V3, 4096), None);
    }

    #[test]
    fn since_never_runs_backwards() {
        let (a, b) = (Instant::from_nanos(5), Instant::from_nanos(9));
        assert_eq!(b.since(a), Duration::from_nanos(4));
        assert_eq!(a.since(b), Duration::ZERO);
    }

    proptest! {
        /// Against the rational number: never early, and less than a nanosecond late.
        #[test]
        fn skew_is_exact(priority in 0u8..=255, cs in 1u64..=4095) {
            let interval = Interval::new(CENTISECOND * cs as u32).unwrap();
            let (second, own) = (u128::from(NANOS), interval.get().as_nanos());
            for (version, base) in [(Version::V2, second), (Version::V3, own)] {
                let got = skew(version, Priority::new(priority), interval).as_nanos() * 256;
                let exact = (256 - u128::from(priority)) * base;
                prop_assert!(got >= exact && got - exact < 256);
            }
        }

        #[test]
        fn fields_come_back(field in 1u16..=4095) {
            let interval = Interval::of_field(Version::V3, field).unwrap();
            prop_assert_eq!(interval.field(Version::V3), Some(field));
        }
    }
}
