//! Whom a router heard, how each computes its checksums, and whose addresses are not quite ours.

use std::net::IpAddr;

use vrrp_common::check::Agreement;
use vrrp_common::wire::ChecksumForm;
use vrrp_common::{Instant, Interval, abi};
use vrrp_proto::Advert;

/// So many are remembered, the longest silent forgotten first: more than a LAN has routers of one VRID, and
/// few where somebody invents senders.
const MOST: usize = 16;

/// A sender of accepted adverts.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) source: IpAddr,
    /// The form of its last advert's checksum.
    pub(crate) form: ChecksumForm,
    /// When that came; one that only repeats itself may be kept in the kernel.
    pub(crate) at: Instant,
    /// How many came in each form, by its number: one whose adverts come through something that rewrites some
    /// of them has both.
    adverts: [u64; 2],
    /// Where the addresses in its last advert were not all ours, or not all of ours.
    pub(crate) differing: Option<Box<Differing>>,
}

/// Adverts whose addresses differ from ours, each from the same sender, with none between that has ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Differing {
    /// When the first of them came.
    pub(crate) since: Instant,
    /// The last one that was not only repeated, and its interval.
    pub(crate) record: abi::Event,
    pub(crate) interval: Interval,
}

impl Sender {
    /// How many of its adverts came in a form.
    pub(crate) const fn adverts(&self, form: ChecksumForm) -> u64 {
        self.adverts[form as usize]
    }

    fn compare(&mut self, advert: &Advert, record: &abi::Event) {
        match (advert.agreement, &mut self.differing) {
            (Agreement::Overlap, Some(differing)) => {
                (differing.record, differing.interval) = (*record, advert.interval);
            }
            (Agreement::Overlap, differing @ None) => {
                let (since, interval) = (Instant::from_nanos(record.at), advert.interval);
                *differing = Some(Box::new(Differing { since, record: *record, interval }));
            }
            // `skip_check_adv_addr` asks not to be told.
            (Agreement::Exact | Agreement::Unasked, differing) => *differing = None,
        }
    }
}

/// The senders of one virtual router.
#[derive(Debug, Default)]
pub(super) struct Senders(Vec<Sender>);

impl Senders {
    /// Notes an advert, and what the record of it says.
    pub(super) fn note(&mut self, advert: &Advert, record: &abi::Event) {
        let (source, form, at) = (advert.source, advert.form, Instant::from_nanos(record.at));
        let fresh = Sender { source, form, at, adverts: [0; 2], differing: None };
        if let Some(known) = self.of(source) {
            (known.form, known.at) = (form, at);
        } else if self.0.len() < MOST {
            self.0.push(fresh);
        } else if let Some(oldest) = self.0.iter_mut().min_by_key(|known| known.at) {
            *oldest = fresh;
        }
        self.count(source, form, 1);
        if let Some(known) = self.of(source) {
            known.compare(advert, record);
        }
    }

    /// Counts adverts of a sender, where it is known.
    pub(super) fn count(&mut self, source: IpAddr, form: ChecksumForm, adverts: u64) {
        if let Some(known) = self.of(source) {
            known.adverts[form as usize] += adverts;
        }
    }

    pub(super) fn all(&self) -> &[Sender] {
        &self.0
    }

    fn of(&mut self, source: IpAddr) -> Option<&mut Sender> {
        self.0.iter_mut().find(|known| known.source == source)
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use vrrp_common::Priority;

    use super::*;

    const FORMS: [ChecksumForm; 2] = [ChecksumForm::Message, ChecksumForm::PseudoHeader];

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(at: u64) -> Instant {
        Instant::from_nanos(at)
    }

    fn advert(last: u8, form: ChecksumForm, agreement: Agreement) -> Advert {
        let (priority, interval) = (Priority::new(100), Interval::DEFAULT);
        Advert { source: ip(last), priority, interval, form, agreement, list: 0, mac: [0; 6] }
    }

    fn record(at: u64) -> abi::Event {
        abi::Event { at, ..abi::Event::zeroed() }
    }

    #[test]
    fn each_has_its_own_forms() {
        let [message, pseudo] = FORMS;
        let mut senders = Senders::default();
        for (last, form, time) in
            [(1, message, 1), (2, pseudo, 2), (1, message, 3), (1, pseudo, 4), (1, message, 5)]
        {
            senders.note(&advert(last, form, Agreement::Exact), &record(time));
        }
        // What the kernel kept to itself.
        senders.count(ip(2), pseudo, 40);
        senders.count(ip(3), pseudo, 1);
        let shown = senders.all().iter();
        let shown: Vec<_> =
            shown.map(|s| (s.source, s.form, s.at, FORMS.map(|form| s.adverts(form)))).collect();
        let right = [(ip(1), message, at(5), [3, 1]), (ip(2), pseudo, at(2), [0, 41])];
        assert_eq!(shown, right);
    }

    #[test]
    fn the_longest_silent_is_forgotten_first() {
        let mut senders = Senders::default();
        let mut note = |last: u8, time| {
            let advert = advert(last, ChecksumForm::Message, Agreement::Overlap);
            senders.note(&advert, &record(time));
        };
        for last in 0..MOST as u8 {
            note(last, u64::from(last) + 1);
        }
        note(0, 99);
        note(200, 100);
        let of = |last| senders.all().iter().find(|sender| sender.source == ip(last));
        assert!(of(0).is_some() && of(1).is_none());
        let [known, fresh] = [0, 200].map(|last| of(last).unwrap());
        assert_eq!(fresh.adverts, [1, 0]);
        let since = [known, fresh].map(|sender| sender.differing.as_ref().map(|it| it.since));
        assert_eq!(since, [Some(at(1)), Some(at(100))]);
        assert_eq!(senders.all().len(), MOST);
    }

    /// Of each sender by itself: since when, and the last one.
    #[test]
    fn a_difference_lasts_until_the_addresses_are_ours() {
        let mut senders = Senders::default();
        let mut after = |last: u8, agreement, time| {
            senders.note(&advert(last, ChecksumForm::Message, agreement), &record(time));
            let differing = senders.all().iter().map(|sender| sender.differing.as_ref());
            let times = differing.map(|it| it.map(|it| (it.since, it.record.at)));
            times.collect::<Vec<_>>()
        };
        let (exact, overlap, unasked) = (Agreement::Exact, Agreement::Overlap, Agreement::Unasked);
        assert_eq!(after(1, exact, 1), [None]);
        assert_eq!(after(1, overlap, 2), [Some((at(2), 2))]);
        assert_eq!(after(1, overlap, 3), [Some((at(2), 3))]);
        assert_eq!(after(2, exact, 4), [Some((at(2), 3)), None]);
        assert_eq!(after(2, overlap, 5), [Some((at(2), 3)), Some((at(5), 5))]);
        assert_eq!(after(1, exact, 6), [None, Some((at(5), 5))]);
        assert_eq!(after(2, unasked, 7), [None, None]);
    }
}
