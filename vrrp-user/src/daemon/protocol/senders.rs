//! Whom a router heard, and how each computes its checksums.

use std::net::IpAddr;

use vrrp_common::Instant;
use vrrp_common::wire::ChecksumForm;

/// So many are remembered, the longest silent forgotten first: more than a LAN has routers of one VRID, and
/// few where somebody invents senders.
const MOST: usize = 16;

/// A sender of accepted adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) source: IpAddr,
    /// The form of its last advert's checksum.
    pub(crate) form: ChecksumForm,
    /// When that came; one that only repeats itself may be kept in the kernel.
    pub(crate) at: Instant,
    /// How many came in each form, by its number: one whose adverts come through something that rewrites some
    /// of them has both.
    adverts: [u64; 2],
}

impl Sender {
    /// How many of its adverts came in a form.
    pub(crate) const fn adverts(&self, form: ChecksumForm) -> u64 {
        self.adverts[form as usize]
    }
}

/// The senders of one virtual router.
#[derive(Debug, Default)]
pub(super) struct Senders(Vec<Sender>);

impl Senders {
    /// Notes an advert.
    pub(super) fn note(&mut self, source: IpAddr, form: ChecksumForm, at: Instant) {
        let sender = Sender { source, form, at, adverts: [0; 2] };
        if let Some(known) = self.of(source) {
            (known.form, known.at) = (form, at);
        } else if self.0.len() < MOST {
            self.0.push(sender);
        } else if let Some(oldest) = self.0.iter_mut().min_by_key(|known| known.at) {
            *oldest = sender;
        }
        self.count(source, form, 1);
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
    use super::*;

    const FORMS: [ChecksumForm; 2] = [ChecksumForm::Message, ChecksumForm::PseudoHeader];

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(at: u64) -> Instant {
        Instant::from_nanos(at)
    }

    #[test]
    fn each_has_its_own_forms() {
        let [message, pseudo] = FORMS;
        let mut senders = Senders::default();
        for (last, form, time) in
            [(1, message, 1), (2, pseudo, 2), (1, message, 3), (1, pseudo, 4), (1, message, 5)]
        {
            senders.note(ip(last), form, at(time));
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
        let mut note = |last: u8, time| senders.note(ip(last), ChecksumForm::Message, at(time));
        for last in 0..MOST as u8 {
            note(last, u64::from(last) + 1);
        }
        note(0, 99);
        note(200, 100);
        let of = |last| senders.all().iter().find(|sender| sender.source == ip(last));
        assert!(of(0).is_some() && of(1).is_none());
        assert_eq!(of(200).map(|sender| sender.adverts), Some([1, 0]));
        assert_eq!(senders.all().len(), MOST);
    }
}
