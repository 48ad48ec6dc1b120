//! Who wins: comparisons without state.

use std::cmp::Ordering;
use std::net::IpAddr;

use vrrp_common::Priority;

use crate::input::{Advert, Health};
use crate::settings::Tracker;

/// What an advert means to the Active router that hears it (RFC 9568 §6.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contest {
    /// The sender releases: speak at once, so that Backups know who goes on.
    Released,
    /// The sender's priority is higher.
    LostByPriority,
    /// The priorities are the same and the sender's address is higher.
    LostByAddress,
    /// We win.
    Won,
}

/// Decides between the Active router itself and the sender of `advert`.
///
/// Addresses compare as unsigned integers in network order, which is how [`IpAddr`] compares within
/// one family.
pub(crate) fn contest(ours: Priority, source: IpAddr, advert: &Advert) -> Contest {
    if advert.priority == Priority::RELEASE {
        return Contest::Released;
    }
    match (advert.priority.cmp(&ours), advert.source.cmp(&source)) {
        (Ordering::Greater, _) => Contest::LostByPriority,
        (Ordering::Equal, Ordering::Greater) => Contest::LostByAddress,
        (Ordering::Equal, Ordering::Less | Ordering::Equal) | (Ordering::Less, _) => Contest::Won,
    }
}

/// What a watched thing means to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// Nothing is in the way, and this is added to the priority.
    Weight(i32),
    /// It can't be said yet, and it may turn out to be a fault.
    Unknown,
    /// A fault.
    Fault,
}

/// Applies keepalived's rule: weight 0 faults on failure, a positive one is added while good, a
/// negative one while bad. `reverse` has weight 0 fault on success, and takes off what others add.
pub(crate) fn bearing(tracker: &Tracker, health: Health) -> Bearing {
    let good = match health {
        Health::Unknown if tracker.weight == 0 => return Bearing::Unknown,
        Health::Unknown => return Bearing::Weight(0),
        Health::Good => true,
        Health::Bad => false,
    };
    let weight = i32::from(tracker.weight);
    match (weight, good) {
        (0, good) if good == tracker.reverse => Bearing::Fault,
        (1.., true) | (..0, false) if tracker.reverse => Bearing::Weight(-weight),
        (1.., true) | (..0, false) => Bearing::Weight(weight),
        (0, _) | (1.., false) | (..0, true) => Bearing::Weight(0),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use vrrp_common::Interval;
    use vrrp_common::check::Agreement;
    use vrrp_common::wire::ChecksumForm;

    use super::*;
    use crate::settings::{Delays, TrackerId};

    #[rstest]
    #[case::released(0, "192.0.2.9", Contest::Released)]
    #[case::higher(101, "192.0.2.1", Contest::LostByPriority)]
    #[case::lower(99, "192.0.2.200", Contest::Won)]
    #[case::tie_higher_address(100, "192.0.2.12", Contest::LostByAddress)]
    #[case::tie_lower_address(100, "192.0.2.9", Contest::Won)]
    #[case::tie_as_integers_not_text(100, "192.0.2.100", Contest::LostByAddress)]
    #[case::tie_same_address(100, "192.0.2.11", Contest::Won)]
    fn contests(#[case] priority: u8, #[case] source: &str, #[case] right: Contest) {
        let advert = Advert {
            source: source.parse().unwrap(),
            priority: Priority::new(priority),
            interval: Interval::DEFAULT,
            form: ChecksumForm::Message,
            agreement: Agreement::Exact,
            list: 0,
            mac: [2, 0, 0, 0, 0, 9],
        };
        let ours = "192.0.2.11".parse().unwrap();
        assert_eq!(contest(Priority::new(100), ours, &advert), right);
    }

    #[rstest]
    #[case::zero_good(0, false, Health::Good, Bearing::Weight(0))]
    #[case::zero_bad(0, false, Health::Bad, Bearing::Fault)]
    #[case::zero_unknown(0, false, Health::Unknown, Bearing::Unknown)]
    #[case::zero_bad_reversed(0, true, Health::Bad, Bearing::Weight(0))]
    #[case::zero_good_reversed(0, true, Health::Good, Bearing::Fault)]
    #[case::plus_good(20, false, Health::Good, Bearing::Weight(20))]
    #[case::plus_bad(20, false, Health::Bad, Bearing::Weight(0))]
    #[case::plus_unknown(20, false, Health::Unknown, Bearing::Weight(0))]
    #[case::minus_good(-20, false, Health::Good, Bearing::Weight(0))]
    #[case::minus_bad(-20, false, Health::Bad, Bearing::Weight(-20))]
    // As keepalived 2.2.7: the sum moves the other way, and when it moves stays.
    #[case::plus_good_reversed(20, true, Health::Good, Bearing::Weight(-20))]
    #[case::plus_bad_reversed(20, true, Health::Bad, Bearing::Weight(0))]
    #[case::plus_unknown_reversed(20, true, Health::Unknown, Bearing::Weight(0))]
    #[case::minus_good_reversed(-20, true, Health::Good, Bearing::Weight(0))]
    #[case::minus_bad_reversed(-20, true, Health::Bad, Bearing::Weight(20))]
    fn bearings(
        #[case] weight: i16,
        #[case] reverse: bool,
        #[case] health: Health,
        #[case] right: Bearing,
    ) {
        let delays = Delays::default();
        let tracker = Tracker { id: TrackerId(1), weight, reverse, delays };
        assert_eq!(bearing(&tracker, health), right);
    }
}
