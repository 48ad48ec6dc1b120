//! A rule: which table decides for which packets.

use std::fmt;

use vrrp_common::Family;
use vrrp_common::wire::family_of;

use super::{Network, PROTOCOL, Realms};

/// A rule that follows the Active router.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// The family of its packets.
    pub family: Family,
    /// Its place among all rules: the lowest is asked first.
    pub preference: u32,
    /// What it does with the packets.
    pub action: Action,
    /// It is about all others than these.
    pub not: bool,
    /// Where they come from; `None`: anywhere.
    pub from: Option<Network>,
    /// Where they go; `None`: anywhere.
    pub to: Option<Network>,
    /// Their type of service; 0: any.
    pub tos: u8,
    /// The mark that the firewall has given them.
    pub mark: Option<Mark>,
    /// Numbers for accounting (IPv4).
    pub realms: Option<Realms>,
    /// Routes of this prefix length or a shorter one don't count.
    pub suppress_length: Option<u32>,
    /// Routes by interfaces of this group don't count.
    pub suppress_group: Option<u32>,
    /// The interface that they come by; the loopback: they are the host's own.
    pub input: Option<String>,
    /// The interface that their socket is bound to.
    pub output: Option<String>,
    /// The number of the tunnel that they come from.
    pub tunnel: Option<u64>,
    /// The users whose they are, the first and the last.
    pub users: Option<(u32, u32)>,
    /// Their protocol behind IP.
    pub ip_protocol: Option<u8>,
    /// Their source ports, the first and the last.
    pub source_ports: Option<(u16, u16)>,
    /// Their destination ports, likewise.
    pub destination_ports: Option<(u16, u16)>,
    /// Who has set it, as a number of `rt_protos`: [`PROTOCOL`], unless nobody puts it back.
    pub protocol: u8,
    /// Put back when it is gone; unset by `no_track`.
    pub tracked: bool,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// The table of this number is asked, which is not 0.
    Table(u32),
    /// The table of the VRF is asked that the packet belongs to.
    L3mdev,
    /// It goes on at the rule of this preference.
    Goto(u32),
    /// Nothing.
    Nop,
    /// They are dropped in silence.
    Blackhole,
    /// They are dropped, and the sender is told that there is no way.
    Unreachable,
    /// They are dropped, and the sender is told that it is forbidden.
    Prohibit,
}

impl Action {
    /// Says whether a table is asked.
    pub const fn asks(self) -> bool {
        matches!(self, Self::Table(_) | Self::L3mdev)
    }
}

/// A mark of the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    /// Its value.
    pub value: u32,
    /// The bits of it that count; `None`: all.
    pub mask: Option<u32>,
}

impl Rule {
    /// A rule about all packets from there, about which nothing else was written. `from` of length 0: from
    /// anywhere.
    pub const fn new(from: Network, preference: u32, action: Action) -> Self {
        Self {
            family: family_of(from.ip),
            preference,
            action,
            not: false,
            from: if from.length == 0 { None } else { Some(from) },
            to: None,
            tos: 0,
            mark: None,
            realms: None,
            suppress_length: None,
            suppress_group: None,
            input: None,
            output: None,
            tunnel: None,
            users: None,
            ip_protocol: None,
            source_ports: None,
            destination_ports: None,
            protocol: PROTOCOL,
            tracked: true,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table}"),
            Self::L3mdev => f.write_str("l3mdev"),
            Self::Goto(preference) => write!(f, "goto {preference}"),
            Self::Nop => f.write_str("nop"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Prohibit => f.write_str("prohibit"),
        }
    }
}

impl Rule {
    /// Which packets it is about, but for where they come from and go to.
    fn matches(&self) -> Vec<String> {
        let mark = self.mark.map(|mark| match mark.mask {
            Some(mask) => format!("fwmark {:#x}/{mask:#x}", mark.value),
            None => format!("fwmark {:#x}", mark.value),
        });
        let ports = |word: &str, ports: Option<(u16, u16)>| {
            ports.map(|(first, last)| match last {
                last if last == first => format!("{word} {first}"),
                last => format!("{word} {first}-{last}"),
            })
        };
        let all = [
            (self.tos != 0).then(|| format!("tos {:#04x}", self.tos)),
            mark,
            self.input.as_ref().map(|name| format!("iif {name}")),
            self.output.as_ref().map(|name| format!("oif {name}")),
            self.tunnel.map(|tunnel| format!("tunnel-id {tunnel}")),
            self.users.map(|(first, last)| format!("uidrange {first}-{last}")),
            self.ip_protocol.map(|number| format!("ipproto {number}")),
            ports("sport", self.source_ports),
            ports("dport", self.destination_ports),
        ];
        all.into_iter().flatten().collect()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "preference {}:", self.preference)?;
        if self.not {
            f.write_str(" not")?;
        }
        match self.from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from all")?,
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        for one in self.matches() {
            write!(f, " {one}")?;
        }
        write!(f, " {}", self.action)?;
        if let Some(length) = self.suppress_length {
            write!(f, " suppress_prefixlength {length}")?;
        }
        if let Some(group) = self.suppress_group {
            write!(f, " suppress_ifgroup {group}")?;
        }
        if let Some(realms) = self.realms {
            write!(f, " {realms}")?;
        }
        if self.protocol == PROTOCOL { Ok(()) } else { write!(f, " protocol {}", self.protocol) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_in_the_words_of_ip() {
        let from = Network { ip: "192.0.2.250".parse().unwrap(), length: 32 };
        let plain = Rule::new(from, 1000, Action::Table(100));
        assert_eq!(plain.to_string(), "preference 1000: from 192.0.2.250 table 100");
        let any = Network::all(Family::V6);
        let all = Rule {
            not: true,
            to: Some(Network { ip: "2001:db8::".parse().unwrap(), length: 32 }),
            tos: 0x10,
            mark: Some(Mark { value: 24, mask: Some(12) }),
            suppress_length: Some(0),
            suppress_group: Some(7),
            input: Some("eth0".to_owned()),
            output: Some("eth1".to_owned()),
            tunnel: Some(5),
            users: Some((1, 2)),
            ip_protocol: Some(17),
            source_ports: Some((53, 53)),
            destination_ports: Some((1, 9)),
            protocol: 12,
            ..Rule::new(any, 7, Action::L3mdev)
        };
        assert_eq!(
            all.to_string(),
            "preference 7: not from all to 2001:db8::/32 tos 0x10 fwmark 0x18/0xc iif eth0 oif eth1 \
             tunnel-id 5 uidrange 1-2 ipproto 17 sport 53 dport 1-9 l3mdev suppress_prefixlength 0 \
             suppress_ifgroup 7 protocol 12"
        );
        let jump = Rule {
            realms: Some(Realms { from: 0, to: 9 }),
            ..Rule::new(Network::all(Family::V4), 39, Action::Goto(40))
        };
        assert_eq!(jump.to_string(), "preference 39: from all goto 40 realms 9");
    }
}
