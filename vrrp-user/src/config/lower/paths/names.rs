//! Names for numbers in routes and rules, as `ip` knows them.

use std::fs;
use std::path::{Path, PathBuf};

use super::line::number;

/// What names are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Routing tables.
    Tables,
    /// Who has set a route.
    Protocols,
    /// How far a route leads.
    Scopes,
    /// Types of service.
    Fields,
    /// Realms.
    Realms,
    /// Groups of interfaces.
    Groups,
    /// What is behind the IP header.
    IpProtocols,
}

/// Where `ip` has its names, the first of which counts.
const FOLDERS: [&str; 3] = ["/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2"];

impl Names {
    /// The file of the host's names.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Tables => "rt_tables",
            Self::Protocols => "rt_protos",
            Self::Scopes => "rt_scopes",
            Self::Fields => "rt_dsfield",
            Self::Realms => "rt_realms",
            Self::Groups => "group",
            Self::IpProtocols => "/etc/protocols",
        }
    }

    /// The greatest number.
    pub(super) const fn most(self) -> u32 {
        match self {
            Self::Tables | Self::Groups => u32::MAX,
            Self::Realms => 65535,
            Self::Protocols | Self::Scopes | Self::Fields | Self::IpProtocols => 255,
        }
    }

    /// The names that mean the same on every host.
    const fn own(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::Tables => &[("unspec", 254), ("main", 254), ("local", 255), ("default", 253)],
            Self::Protocols => &[
                ("redirect", 1),
                ("kernel", 2),
                ("boot", 3),
                ("static", 4),
                ("zebra", 11),
                ("bird", 12),
                ("dhcp", 16),
                ("keepalived", 18),
                ("bgp", 186),
                ("isis", 187),
                ("ospf", 188),
                ("rip", 189),
            ],
            Self::Scopes => {
                &[("global", 0), ("site", 200), ("link", 253), ("host", 254), ("nowhere", 255)]
            }
            Self::Fields => &[("default", 0)],
            Self::Realms => &[("cosmos", 0), ("unknown", 0)],
            Self::Groups => &[("default", 0)],
            Self::IpProtocols => &[
                ("icmp", 1),
                ("igmp", 2),
                ("ipip", 4),
                ("tcp", 6),
                ("udp", 17),
                ("dccp", 33),
                ("gre", 47),
                ("esp", 50),
                ("ah", 51),
                ("icmpv6", 58),
                ("ipv6-icmp", 58),
                ("ospf", 89),
                ("vrrp", 112),
                ("sctp", 132),
                ("udplite", 136),
            ],
        }
    }
}

/// The number of a name, or the number that is written.
pub(super) fn find(names: Names, text: &str) -> Option<u32> {
    find_in(&FOLDERS.map(Path::new), names, text)
}

fn find_in(folders: &[&Path], names: Names, text: &str) -> Option<u32> {
    let of_files = || files(folders, names.file()).iter().find_map(|file| named(&read(file), text));
    let by_name = || {
        if names == Names::IpProtocols {
            // In capitals they stand in the manual page.
            let own = known(names, &text.to_ascii_lowercase());
            own.or_else(|| ip_protocol(&read(Path::new(names.file())), text))
        } else {
            known(names, text).or_else(of_files)
        }
    };
    let found = number(text).or_else(by_name)?;
    // Table 0 is the one that is meant where none is said.
    let found = if names == Names::Tables && found == 0 { 254 } else { found };
    (found <= names.most()).then_some(found)
}

fn known(names: Names, text: &str) -> Option<u32> {
    names.own().iter().find(|(name, _)| *name == text).map(|(_, number)| *number)
}

/// The file in the first folder that has it, and those beside it.
fn files(folders: &[&Path], name: &str) -> Vec<PathBuf> {
    let first = folders.iter().map(|folder| folder.join(name)).find(|file| file.exists());
    let beside =
        folders.iter().filter_map(|folder| fs::read_dir(folder.join(format!("{name}.d"))).ok());
    let mut more: Vec<PathBuf> = beside.flatten().flatten().map(|entry| entry.path()).collect();
    more.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    more.sort();
    first.into_iter().chain(more).collect()
}

/// The text of a file; nothing where it can't be read.
fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// Lines of a number and a name.
fn named(text: &str, name: &str) -> Option<u32> {
    lines(text).find_map(|mut words| {
        let number = number(words.next()?)?;
        (words.next()? == name).then_some(number)
    })
}

/// Lines of a name, a number and more names.
fn ip_protocol(text: &str, name: &str) -> Option<u32> {
    lines(text).find_map(|mut words| {
        let (first, number) = (words.next()?, number(words.next()?)?);
        let mut all = std::iter::once(first).chain(words);
        all.any(|word| word.eq_ignore_ascii_case(name)).then_some(number)
    })
}

fn lines(text: &str) -> impl Iterator<Item = std::str::SplitWhitespace<'_>> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_name() {
        let find = |names, text| find_in(&[], names, text);
        assert_eq!(find(Names::Tables, "4294967295"), Some(u32::MAX));
        assert_eq!(find(Names::Tables, "4294967296"), None);
        assert_eq!(find(Names::Tables, "0x64"), Some(100));
        assert_eq!(find(Names::Tables, "0"), Some(254));
        assert_eq!(find(Names::Protocols, "255"), Some(255));
        assert_eq!(find(Names::Protocols, "256"), None);
        assert_eq!(find(Names::Realms, "65536"), None);
        for text in ["", "-1", "+1", "0x", "0xg", "1x", " 1"] {
            assert_eq!(find(Names::Tables, text), None, "{text:?}");
        }
    }

    #[test]
    fn the_kernels_names_need_no_file() {
        let find = |names, text| find_in(&[], names, text);
        assert_eq!(find(Names::Tables, "local"), Some(255));
        assert_eq!(find(Names::Protocols, "keepalived"), Some(18));
        assert_eq!(find(Names::Scopes, "link"), Some(253));
        assert_eq!(find(Names::IpProtocols, "UDP"), Some(17));
        assert_eq!(find(Names::Tables, "blue"), None);
    }

    #[test]
    fn names_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("etc"), dir.path().join("usr"));
        for folder in [&first, &second] {
            fs::create_dir_all(folder.join("rt_tables.d")).unwrap();
        }
        fs::write(first.join("rt_tables"), "# 1 not\n0x64\tblue # what\n 7   red\nx\n").unwrap();
        fs::write(second.join("rt_tables"), "8 red\n9 hidden\n").unwrap();
        fs::write(second.join("rt_tables.d/a.conf"), "10 more\n").unwrap();
        fs::write(second.join("rt_tables.d/a.txt"), "11 other\n").unwrap();
        let find = |text| find_in(&[&first, &second], Names::Tables, text);
        assert_eq!(find("blue"), Some(100));
        assert_eq!(find("red"), Some(7));
        assert_eq!(find("more"), Some(10));
        for text in ["not", "hidden", "other", "what"] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn protocols_by_all_their_names() {
        let text = "# x 1\nxns-idp\t22\tXNS-IDP # Xerox\nst 5 ST\n";
        assert_eq!(ip_protocol(text, "xns-idp"), Some(22));
        assert_eq!(ip_protocol(text, "ST"), Some(5));
        assert_eq!(ip_protocol(text, "Xerox"), None);
    }
}
