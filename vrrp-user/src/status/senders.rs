//! Whom a virtual router heard, and how they compute checksums.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Instance;
use crate::text::some_apart;

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
}

/// Each sender's checksum forms, where there is more than one form: in version 3 over IPv4.
pub(super) fn render(out: &mut String, i: &Instance) {
    let v4 = i.senders.iter().filter(|sender| i.version == 3 && !sender.address.contains(':'));
    let forms: Vec<String> = v4.map(forms).collect();
    if !forms.is_empty() {
        let _ = writeln!(out, "  checksum forms: {}", some_apart(&forms, "; "));
    }
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
        };
        assert_eq!(forms(&sender(0, 0)), "192.0.2.12 message");
        assert_eq!(forms(&sender(7, 0)), "192.0.2.12 message 7");
        assert_eq!(forms(&sender(0, 8)), "192.0.2.12 pseudo_header 8");
        let both = "192.0.2.12 message 7, pseudo_header 8, message last";
        assert_eq!(forms(&sender(7, 8)), both);
    }
}
