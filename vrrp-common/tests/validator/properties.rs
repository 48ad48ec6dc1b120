//! What holds for all adverts.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use vrrp_common::check::{Agreement, Judgement};
use vrrp_common::checksum::Sum;
use vrrp_common::wire::{self, ChecksumForm};
use vrrp_common::{Reject, Version};

use crate::support::{Frame, IP, MESSAGE, OURS, SLOT, Settings, addresses, sum_header};

/// Adverts for a router, and its settings.
fn adverts() -> impl Strategy<Value = (Settings, Frame)> {
    let version = prop_oneof![Just(Version::V2), Just(Version::V3)];
    let form = prop_oneof![Just(ChecksumForm::Message), Just(ChecksumForm::PseudoHeader)];
    let source = (1_u8..224, any::<[u8; 3]>())
        .prop_map(|(first, [a, b, c])| Ipv4Addr::new(first, a, b, c))
        .prop_filter("a host's", |source| !source.is_loopback() && *source != OURS);
    let password = proptest::option::of(any::<[u8; 8]>());
    let fields = (version, form, source, password, any::<u8>(), 1_u16..4096, 1_u8..60);
    fields.prop_map(|(version, form, source, password, priority, interval, count)| {
        let v2 = version == Version::V2;
        let mut frame = Frame {
            form,
            source,
            priority,
            interval: if v2 { interval & 0xff } else { interval },
            password: password.filter(|_| v2),
            ..Frame::new(version, &addresses(count))
        };
        frame.addresses.reverse();
        let mut settings = Settings::new(version, &addresses(count));
        settings.router.interval = frame.interval;
        if let Some(password) = frame.password {
            settings = settings.with_password(password);
        }
        (settings, frame)
    })
}

fn form_of(frame: &Frame) -> ChecksumForm {
    match frame.version {
        Version::V2 => ChecksumForm::Message,
        Version::V3 => frame.form,
    }
}

/// Whether the pseudo-header adds nothing, as with one source in 65,535, so that the form can't be told.
fn sums_are_alike(frame: &Frame) -> bool {
    let of = |form| Frame { form, ..frame.clone() }.bytes();
    of(ChecksumForm::Message) == of(ChecksumForm::PseudoHeader)
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.router.fmt(f)
    }
}

/// Bytes of the IPv4 header that nothing here looks at: type of service, identification, and of the
/// third word the reserved bit and "don't fragment".
fn is_unchecked(at: usize, change: u8) -> bool {
    at < 12 || at == IP + 1 || at == IP + 4 || at == IP + 5 || (at == IP + 6 && change & 0x3f == 0)
}

/// What [`one_wrong_byte_is_noticed`] says, of one byte.
fn is_noticed(
    settings: &Settings,
    frame: &Frame,
    at: usize,
    change: u8,
) -> Result<(), TestCaseError> {
    let good = frame.bytes();
    let mut bad = good.clone();
    bad[at] ^= change;
    sum_header(&mut bad);
    let before = settings.verdict(&good).unwrap();
    let judgement = settings.judge(&bad);
    let Some(Judgement::Ours { verdict, .. }) = judgement else {
        // No longer VRRP, no longer to the group, or another virtual router's.
        let other = match judgement {
            None => at < MESSAGE,
            Some(Judgement::NotOurs) => at == IP || (IP + 16..MESSAGE).contains(&at),
            Some(Judgement::Stranger) => at == MESSAGE + 1 || at == IP,
            Some(_) => false,
        };
        prop_assert!(other, "byte {at}: {judgement:?}");
        return Ok(());
    };
    if let Ok(after) = verdict {
        if is_unchecked(at, change) {
            prop_assert_eq!(after, before);
        } else if (IP + 12..IP + 16).contains(&at) {
            // Another sender: the sum over the message alone does not cover it.
            let source = <[u8; 4]>::try_from(&bad[IP + 12..IP + 16]).unwrap().into();
            let alike = sums_are_alike(&Frame { source, ..frame.clone() });
            prop_assert!(after.form == ChecksumForm::Message || alike, "byte {at}");
        } else if (IP + 10..IP + 12).contains(&at) {
            // The header's sum itself, which was made right.
            prop_assert_eq!(&bad, &good);
        } else {
            // The price of two sums: the change happens to be the pseudo-header.
            prop_assert!(after.form != form_of(frame), "byte {at}: {after:?}");
        }
    } else if at >= MESSAGE {
        let reason = verdict.unwrap_err();
        let early = matches!(reason, Reject::Version | Reject::Type | Reject::Length);
        // As above: the sum in the other form is right, and what the message says is wrong.
        let other = match form_of(frame) {
            ChecksumForm::Message => is_right_with_pseudo(&bad),
            ChecksumForm::PseudoHeader => is_right_alone(&bad),
        };
        prop_assert!(reason == Reject::Checksum || early || other, "byte {at}: {reason}");
    }
    Ok(())
}

/// Whether the sum over the message alone is right.
fn is_right_alone(frame: &[u8]) -> bool {
    Sum::new().slice(&frame[MESSAGE..]).is_whole()
}

/// Whether the sum over pseudo-header and message is right.
fn is_right_with_pseudo(frame: &[u8]) -> bool {
    let length = u16::try_from(frame.len() - MESSAGE).unwrap();
    let pseudo =
        Sum::new().slice(&frame[IP + 12..MESSAGE]).word(wire::PROTOCOL.into()).word(length);
    pseudo.slice(&frame[MESSAGE..]).is_whole()
}

/// A source with this first byte whose pseudo-header adds so much to the sum of an advert with so many
/// addresses, modulo 65,535; `None` where there is no such host.
fn source_that_adds(add: u32, count: u8, first: u8) -> Option<Ipv4Addr> {
    let length = 8 + 4 * u32::from(count);
    let rest = 2 * 0xffff + add - u32::from(first) * 256 - 0xe000 - 0x12 - 0x70 - length;
    let (high, low) = (rest.min(0xff), rest - rest.min(0xff));
    let source = Ipv4Addr::new(first, high as u8, (low >> 8) as u8, low as u8);
    (low <= 0xffff && source != OURS && !source.is_loopback()).then_some(source)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_emitted_is_accepted((settings, frame) in adverts(), fill in vec(any::<u8>(), 0..30)) {
        let mut bytes = frame.bytes();
        bytes.extend(fill);
        let checked = settings.verdict(&bytes);
        prop_assert!(checked.is_ok(), "{checked:?}");
        let checked = checked.unwrap();
        prop_assert_eq!(checked.priority, frame.priority);
        prop_assert_eq!(checked.interval, frame.interval);
        let form = if sums_are_alike(&frame) { checked.form } else { form_of(&frame) };
        prop_assert_eq!(checked.form, form);
        prop_assert_eq!(checked.agreement, Agreement::Exact);
        let fast = settings.judge_fast(&bytes);
        if frame.addresses.len() <= 32 {
            prop_assert_eq!(fast, settings.judge(&bytes));
        } else {
            prop_assert_eq!(fast, Some(Judgement::Unfinished { slot: SLOT }));
        }
    }

    /// The sources that make the sum of the pseudo-header zero; chance alone would seldom find one.
    #[test]
    fn where_both_sums_are_the_same_either_form_is_right(count in 1_u8..60, first in 1_u8..200) {
        let Some(source) = source_that_adds(0, count, first) else { return Ok(()) };
        let frame = Frame { source, ..Frame::new(Version::V3, &addresses(count)) };
        prop_assert!(sums_are_alike(&frame));
        let settings = Settings::new(Version::V3, &addresses(count));
        prop_assert!(settings.verdict(&frame.bytes()).is_ok());
    }

    /// One byte of an accepted advert changed, and the IP header's sum made right again, as a router
    /// on the way would.
    #[test]
    fn one_wrong_byte_is_noticed(
        (settings, frame) in adverts(),
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let at = at.index(frame.bytes().len());
        is_noticed(&settings, &frame, at, change)?;
    }

    /// The same where the changed byte adds just what the pseudo-header does, so that the sum over the
    /// message alone becomes right; chance alone would seldom find one.
    #[test]
    fn a_byte_that_makes_the_other_sum_right(count in 1_u8..60, first in 1_u8..200, more in 1_u8..6) {
        let Some(source) = source_that_adds(more.into(), count, first) else { return Ok(()) };
        let frame = Frame { source, ..Frame::new(Version::V3, &addresses(count)) };
        let settings = Settings::new(Version::V3, &addresses(count));
        let last = frame.bytes().len() - 1;
        let byte = frame.bytes()[last];
        is_noticed(&settings, &frame, last, byte ^ (byte + more))?;
        let mut bad = frame.bytes();
        bad[last] += more;
        // The price of two sums: nothing tells it from a good one but what it says.
        prop_assert!(settings.judge(&bad).is_some() && is_right_alone(&bad));
        if count == 1 {
            prop_assert_eq!(settings.verdict(&bad), Err(Reject::ForeignCluster));
        }
    }

    /// The short loop of the kernel program and the long one agree on anything at all.
    #[test]
    fn both_loops_agree_on_anything(
        (settings, frame) in adverts(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        right in any::<bool>(),
    ) {
        let mut bytes = frame.bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if right {
            sum_header(&mut bytes);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        match settings.judge_fast(&bytes) {
            None => {}
            Some(Judgement::Unfinished { .. }) => {
                prop_assert!(bytes[MESSAGE + 3..].first().is_some_and(|count| *count > 32)
                    || bytes[12..14] != [8, 0]);
            }
            fast @ Some(_) => prop_assert_eq!(fast, settings.judge(&bytes)),
        }
    }

    #[test]
    fn nothing_panics(bytes in vec(any::<u8>(), 0..200), vrid in any::<bool>()) {
        let mut bytes = bytes;
        if vrid && bytes.len() > 40 {
            bytes[12..14].copy_from_slice(&[8, 0]);
            bytes[IP] = 0x40 | (bytes[IP] & 15);
            bytes[IP + 9] = wire::PROTOCOL;
        }
        for version in [Version::V2, Version::V3] {
            let settings = Settings::new(version, &addresses(3));
            settings.judge(&bytes);
            settings.judge_fast(&bytes);
        }
    }
}
