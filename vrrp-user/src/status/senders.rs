//! Whom a virtual router heard, how they compute checksums, and whose addresses are not quite its own.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Instance, ago};
use crate::text::{some_apart, some_of};

/// A sender of good adverts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Its address.
    pub address: String,
    /// How its last advert's checksum was computed.
    pub checksum: String,
    /// How many of its adverts had a checksum over the message alone.
    #[serde(default)]
    pub message: u64,
    /// How many had one over the message behind a pseudo-header.
    #[serde(default)]
    pub pseudo_header: u64,
    /// When the last one arrived.
    pub heard_ms_ago: u64,
    /// How its addresses differ from ours; mostly not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Differs>,
}

/// How the addresses in the last advert of a sender differ from ours, some of which are in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// When the first such advert came behind which none had our addresses.
    pub since_ms_ago: u64,
    /// How many there are in it.
    pub addresses: u8,
    /// How many there are in ours.
    pub ours: usize,
    /// Those that only we have; empty as well where it has more than eight, of IPv6 two: then it is not known.
    pub missing: Vec<String>,
    /// Those that only it has, of its first eight, of IPv6 two.
    pub extra: Vec<String>,
    /// Where they differ behind those alone: how many these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<usize>,
}

/// Each sender's checksum forms, where there is more than one form: in version 3 over IPv4.
pub(super) fn render(out: &mut String, i: &Instance) {
    let v4 = i.senders.iter().filter(|sender| i.version == 3 && !sender.address.contains(':'));
    let forms: Vec<String> = v4.map(forms).collect();
    if !forms.is_empty() {
        let _ = writeln!(out, "  checksum forms: {}", some_apart(&forms, "; "));
    }
    for sender in &i.senders {
        if let Some(differs) = &sender.differs {
            let _ = writeln!(out, "  other addresses: {}", difference(&sender.address, differs));
        }
    }
}

fn difference(sender: &str, it: &Differs) -> String {
    let (since, theirs, ours) = (ago(it.since_ms_ago), it.addresses, it.ours);
    let mut text = format!("{sender} for {since}, {theirs} in its adverts and {ours} in ours");
    for (what, addresses) in [("not in its", &it.missing), ("not in ours", &it.extra)] {
        if !addresses.is_empty() {
            let _ = write!(text, "; {what}: {}", some_of(addresses));
        }
    }
    if let Some(first) = it.beyond {
        let _ = write!(text, "; they differ beyond the first {first}");
    }
    text
}

fn forms(sender: &Sender) -> String {
    let counts = [("message", sender.message), ("pseudo_header", sender.pseudo_header)];
    let came = counts.iter().filter(|(_, adverts)| *adverts > 0);
    let came: Vec<String> = came.map(|(form, adverts)| format!("{form} {adverts}")).collect();
    match came.as_slice() {
        // A daemon that does not count them.
        [] => format!("{} {}", sender.address, sender.checksum),
        [one] => format!("{} {one}", sender.address),
        both => format!("{} {}, {} last", sender.address, both.join(", "), sender.checksum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_changes_its_form_is_seen() {
        let sender = |message, pseudo_header| Sender {
            address: "192.0.2.12".to_owned(),
            checksum: "message".to_owned(),
            message,
            pseudo_header,
            heard_ms_ago: 5,
            differs: None,
        };
        assert_eq!(forms(&sender(0, 0)), "192.0.2.12 message");
        assert_eq!(forms(&sender(7, 0)), "192.0.2.12 message 7");
        assert_eq!(forms(&sender(0, 8)), "192.0.2.12 pseudo_header 8");
        let both = "192.0.2.12 message 7, pseudo_header 8, message last";
        assert_eq!(forms(&sender(7, 8)), both);
    }

    #[test]
    fn what_differs_is_told_as_far_as_it_is_known() {
        let of = |missing: &[&str], extra: &[&str], beyond| {
            let [missing, extra] =
                [missing, extra].map(|all| all.iter().map(|&one| one.to_owned()).collect());
            let differs =
                Differs { since_ms_ago: 7_200_000, addresses: 9, ours: 2, missing, extra, beyond };
            difference("192.0.2.12", &differs)
        };
        let begin = "192.0.2.12 for 2 h, 9 in its adverts and 2 in ours";
        assert_eq!(of(&[], &[], None), begin);
        let unseen = of(&[], &[], Some(8));
        assert_eq!(unseen, format!("{begin}; they differ beyond the first 8"));
        assert_eq!(of(&["192.0.2.1"], &[], None), format!("{begin}; not in its: 192.0.2.1"));
        let both = of(&["192.0.2.1"], &["192.0.2.2", "192.0.2.3"], None);
        let right = "not in its: 192.0.2.1; not in ours: 192.0.2.2, 192.0.2.3";
        assert_eq!(both, format!("{begin}; {right}"));
    }
}
