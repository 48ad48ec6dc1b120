//! The handed packet files.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// One frame of a packet file.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name in the file.
    pub name: String,
    /// `accept`, `drop`, `ignore` or `choice`.
    pub expect: String,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// What is to become of a frame; several reasons where the message has several faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Believed.
    Accepted,
    /// Refused for one of these, as status names them.
    Refused(&'static [&'static str]),
    /// Not ours: counted nowhere.
    Ignored,
}

/// What is to become of a handed frame by its name, as DESIGN.md decides where the files leave it open.
pub fn verdict(name: &str) -> Verdict {
    use Verdict::{Ignored, Refused};
    match name {
        "ttl-254" | "ttl-1" | "hop-limit-254" => Refused(&["ttl"]),
        "version-1" | "version-2" | "version-3-on-v2-instance" | "v2-message-on-v3-instance" => {
            Refused(&["version"])
        }
        "version-2-nibble-in-v3-message" => Refused(&["length", "checksum"]),
        "count-3-two-present" => Refused(&["length"]),
        "type-2" | "type-0" => Refused(&["type"]),
        "checksum-plus-one"
        | "checksum-byte-swapped"
        | "pass-right-checksum-wrong"
        | "neither-sum"
        | "sum-wrong"
        | "sum-without-pseudo-header"
        | "pseudo-sum-of-other-source"
        | "router-alert-and-bad-vrrp-sum" => Refused(&["checksum"]),
        "interval-2" | "interval-0" | "interval-255" | "interval-100-as-centiseconds" => {
            Refused(&["interval"])
        }
        "pass-wrong" | "type-1-empty-data" | "pass-prefix-only" => Refused(&["auth_data"]),
        "type-0-no-data"
        | "type-0-but-right-data"
        | "type-2-ah-without-ah-header"
        | "type-3-unknown" => Refused(&["auth_type"]),
        "unicast-to-us-on-multicast-instance" => Refused(&["destination"]),
        "theirs-higher-prio" | "theirs-two-addresses" => Refused(&["foreign_cluster"]),
        "to-224.0.0.1" | "multicast-on-unicast-instance" => Refused(&["group"]),
        "vrid-52-not-configured" | "vlan-100-on-the-parent-device" => Ignored,
        _ => Verdict::Accepted,
    }
}

/// The folder with the handed packets: the same files that the validator's tests read.
pub fn packet_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vrrp-common/testdata")
}

/// The folder with the handed configurations.
pub fn conf_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/conf")
}

/// The frames of a packet file.
///
/// # Panics
/// The file is missing or malformed.
pub fn packets(name: &str) -> Vec<Case> {
    let path = packet_folder().join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut cases = Vec::new();
    let mut head = None;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("#! frame ") {
            let mut words = words.split_whitespace();
            let name = words.next().expect("a frame has a name");
            let expect = words.nth(1).expect("a frame has an expectation");
            head = Some((name.to_owned(), expect.to_owned()));
        } else if !line.starts_with('#') && !line.trim().is_empty() {
            let (name, expect) = head.take().expect("bytes follow a frame line");
            cases.push(Case { name, expect, bytes: from_hex(line) });
        }
    }
    cases
}

/// The names of all packet files, each with the configuration that it is for.
///
/// # Panics
/// A file is unreadable or malformed.
pub fn packet_files() -> Vec<(String, String)> {
    let folder = packet_folder();
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<(String, String)> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a text");
            let mut words = text.split_whitespace().skip_while(|word| *word != "dut").skip(1);
            let dut = words.next().and_then(|word| word.strip_suffix(".conf"));
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, dut.expect("a file says what it is for").to_owned())
        })
        .collect();
    files.sort();
    files
}

/// A frame of a packet file by its name.
///
/// # Panics
/// The file has no such frame.
pub fn frame(file: &str, name: &str) -> Vec<u8> {
    let found = packets(file).into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("{file} has no frame {name}")).bytes
}

/// A `VRRPv2` advert of `gen` for any virtual router, made of a handed one.
///
/// # Panics
/// The handed one is missing or malformed.
pub fn advert_of_gen(vrid: u8, priority: u8, address: Ipv4Addr) -> Vec<u8> {
    // Behind the headers of Ethernet and IPv4.
    const MESSAGE: std::ops::Range<usize> = 34..54;
    let mut frame = frame("P19-master-hears", "lower-50");
    let message = &mut frame[MESSAGE];
    (message[1], message[2]) = (vrid, priority);
    message[6..8].fill(0);
    message[8..12].copy_from_slice(&address.octets());
    let pairs = message.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = pairs.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    message[6..8].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame
}

/// The text of a handed configuration.
///
/// # Panics
/// There is no such file.
pub fn configuration(name: &str) -> String {
    let path = conf_folder().join(format!("{name}.conf"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The bytes that a line of hexadecimal digits says.
///
/// # Panics
/// It is not hexadecimal.
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |digit: u8| char::from(digit).to_digit(16).expect("filtered") as u8;
    digits.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_advert_is_the_handed_one_where_nothing_is_changed() {
        let same = advert_of_gen(51, 50, Ipv4Addr::new(192, 0, 2, 250));
        assert_eq!(same, frame("P19-master-hears", "lower-50"));
        let other = advert_of_gen(51, 150, Ipv4Addr::new(192, 0, 2, 250));
        let handed = frame("P19-master-hears", "higher-150");
        assert_eq!(other[34..], handed[34..]);
    }
}
