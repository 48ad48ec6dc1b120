//! The records in the ring.

use bytemuck::{Pod, Zeroable};

use crate::bytes::Bytes;
use crate::check::{Checked, Envelope};
use crate::ids::Family;
use crate::reject::Reject;

const HEAD: usize = 40;

/// One record in the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Event {
    /// When the frame arrived or the timer ran out, as `CLOCK_MONOTONIC` nanoseconds.
    pub at: u64,
    /// The instance.
    pub slot: u32,
    /// The interface.
    pub ifindex: u32,
    /// The number of an accepted one's list of addresses, by [`crate::check::Agreement::list`].
    pub list: u32,
    /// [`Event::ADVERT`], [`Event::REFUSED`] or [`Event::EXPIRED`].
    pub kind: u8,
    /// The [`Reject`] of a refused one. Of an accepted one [`Reject::Replay`], where its sender's sequence
    /// numbers begin anew; else 0.
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// The interval field of an accepted one.
    pub interval: u16,
    /// Bytes of `head` that are set.
    pub head_len: u8,
    /// 4 or 6.
    pub family: u8,
    /// The VRID.
    pub vrid: u8,
    /// The sender's priority, of an accepted one.
    pub priority: u8,
    /// The [`crate::wire::ChecksumForm`], of an accepted one.
    pub form: u8,
    /// The [`crate::check::Agreement`], of an accepted one.
    pub agreement: u8,
    /// The sender; of an expiry, its details.
    pub source: [u8; 16],
    /// Where it was sent.
    pub destination: [u8; 16],
    /// TTL or hop limit.
    pub ttl: u8,
    /// 1 for an accepted one from a sender that is not among the instance's unicast peers.
    pub unlisted: u8,
    /// The Ethernet source.
    pub mac: [u8; 6],
    /// The message's first bytes, where they say more than the fields: a refused advert, or one whose
    /// addresses are not quite ours.
    pub head: [u8; HEAD],
}

impl Event {
    /// An advert that passed every check.
    pub const ADVERT: u8 = 1;
    /// An advert that did not, or a sample of many.
    pub const REFUSED: u8 = 2;
    /// A watched advert stayed away for Master_Down_Interval: [`Event::expired`].
    pub const EXPIRED: u8 = 3;
    /// Bytes kept of a message: its header and eight IPv4 addresses.
    pub const HEAD: usize = HEAD;

    /// The record of a judged advert, without the message's first bytes and the number of its list.
    #[inline(always)]
    pub fn new(
        at: u64,
        ifindex: u32,
        family: Family,
        slot: u32,
        envelope: &Envelope,
        verdict: &Result<Checked, Reject>,
    ) -> Self {
        let mut event = Self {
            at,
            slot,
            ifindex,
            list: 0,
            kind: Self::ADVERT,
            reason: 0,
            reserved: [0; 2],
            interval: 0,
            head_len: 0,
            family: family as u8,
            vrid: envelope.vrid,
            priority: 0,
            form: 0,
            agreement: 0,
            source: envelope.source,
            destination: envelope.destination,
            ttl: envelope.ttl,
            unlisted: 0,
            mac: envelope.mac,
            head: [0; Self::HEAD],
        };
        match verdict {
            Ok(checked) => {
                event.interval = checked.interval;
                event.priority = checked.priority;
                event.form = checked.form as u8;
                event.agreement = checked.agreement as u8;
                event.unlisted = u8::from(!checked.listed);
            }
            Err(reason) => {
                event.kind = Self::REFUSED;
                event.reason = *reason as u8;
            }
        }
        event
    }

    /// The record of a watched advert that stayed away, at `at`: when it last came, and the
    /// [`super::Runtime::watch`] that this was of, are in the place of the source.
    #[inline(always)]
    pub fn expired(at: u64, slot: u32, last_seen: u64, watch: u64) -> Self {
        let mut event = Self::zeroed();
        event.at = at;
        event.kind = Self::EXPIRED;
        event.slot = slot;
        let details: [u8; 16] = bytemuck::cast([last_seen, watch]);
        event.source = details;
        event
    }

    /// Copies the first bytes of the message at offset `at` of a frame.
    #[inline(always)]
    pub fn keep_head<B: Bytes + ?Sized>(&mut self, bytes: &B, at: usize) {
        let mut i = 0;
        while i < Self::HEAD / 4 {
            let Some(word) = bytes.read_anew::<4>(at + 4 * i) else {
                break;
            };
            self.head[4 * i] = word[0];
            self.head[4 * i + 1] = word[1];
            self.head[4 * i + 2] = word[2];
            self.head[4 * i + 3] = word[3];
            self.head_len = (4 * i + 4) as u8;
            i += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Meaning;
    use crate::check::Agreement;
    use crate::wire::ChecksumForm;

    fn judged() -> (Envelope, Checked) {
        let envelope = Envelope {
            source: [192, 0, 2, 101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            destination: [0; 16],
            ttl: 255,
            vrid: 51,
            mac: [2, 0, 0, 0, 0, 0x65],
        };
        let checked = Checked {
            priority: 150,
            interval: 100,
            form: ChecksumForm::PseudoHeader,
            agreement: Agreement::Exact,
            listed: true,
        };
        (envelope, checked)
    }

    #[test]
    fn a_record_means_what_the_advert_means() {
        let (envelope, checked) = judged();
        let event = Event::new(7, 2, Family::V4, 3, &envelope, &Ok(checked));
        let event = Event { list: 9, ..event };
        assert_eq!(Meaning::of(&event), Meaning::new(&envelope, &checked, 9));
    }

    #[test]
    fn whatever_matters_changes_the_words() {
        let (envelope, checked) = judged();
        let words = Meaning::new(&envelope, &checked, 0).words();
        let mut others = [(envelope, checked, 0); 7];
        others[0].0.source[3] ^= 1;
        others[1].0.mac[5] ^= 1;
        others[2].1.interval += 1;
        others[3].1.priority -= 1;
        others[4].1.form = ChecksumForm::Message;
        others[5].1.agreement = Agreement::Overlap;
        others[6].2 = 1;
        for (envelope, checked, list) in others {
            assert_ne!(
                Meaning::new(&envelope, &checked, list).words(),
                words,
                "{envelope:?} {checked:?} {list}"
            );
        }
    }

    #[test]
    fn an_expiry_has_its_details_in_place_of_a_source() {
        let event = Event::expired(9, 3, 5, u64::MAX);
        assert_eq!((event.at, event.slot, event.kind), (9, 3, Event::EXPIRED));
        assert_eq!(bytemuck::cast::<_, [u64; 2]>(event.source), [5, u64::MAX]);
    }
}
