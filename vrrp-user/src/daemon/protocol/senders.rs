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
}

/// The senders of one virtual router.
#[derive(Debug, Default)]
pub(super) struct Senders(Vec<Sender>);

impl Senders {
    pub(super) fn note(&mut self, sender: Sender) {
        let known = self.0.iter_mut().find(|known| known.source == sender.source);
        if let Some(known) = known {
            *known = sender;
        } else if self.0.len() < MOST {
            self.0.push(sender);
        } else if let Some(oldest) = self.0.iter_mut().min_by_key(|known| known.at) {
            *oldest = sender;
        }
    }

    pub(super) fn all(&self) -> &[Sender] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(last: u8, form: ChecksumForm, at: u64) -> Sender {
        Sender { source: IpAddr::from([192, 0, 2, last]), form, at: Instant::from_nanos(at) }
    }

    #[test]
    fn each_has_its_own_form() {
        let mut senders = Senders::default();
        senders.note(sender(1, ChecksumForm::Message, 1));
        senders.note(sender(2, ChecksumForm::PseudoHeader, 2));
        senders.note(sender(1, ChecksumForm::Message, 3));
        let both = [sender(1, ChecksumForm::Message, 3), sender(2, ChecksumForm::PseudoHeader, 2)];
        assert_eq!(senders.all(), both);
    }

    #[test]
    fn the_longest_silent_is_forgotten_first() {
        let mut senders = Senders::default();
        for last in 0..MOST as u8 {
            senders.note(sender(last, ChecksumForm::Message, u64::from(last) + 1));
        }
        senders.note(sender(0, ChecksumForm::Message, 99));
        senders.note(sender(200, ChecksumForm::Message, 100));
        let has = |last| senders.all().iter().any(|s| s.source == IpAddr::from([192, 0, 2, last]));
        assert!(has(0) && has(200) && !has(1));
        assert_eq!(senders.all().len(), MOST);
    }
}
