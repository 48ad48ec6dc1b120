//! A line of `virtual_rules`.

use vrrp_common::Family;
use vrrp_proto::paths::{Action, Mark, Network, Realms, Rule};

use super::super::super::ast::Word;
use super::super::super::diag::{Code, Diag, Severity};
use super::line::{Line, Read, number, unknown, wrong};
use super::names::Names;
use super::{Device, Preferences};

/// The words that stand in a rule.
const WORDS: [&str; 39] = [
    "inet",
    "inet6",
    "not",
    "from",
    "to",
    "table",
    "lookup",
    "l3mdev",
    "goto",
    "nop",
    "type",
    "blackhole",
    "unreachable",
    "prohibit",
    "preference",
    "order",
    "priority",
    "tos",
    "dsfield",
    "fwmark",
    "realms",
    "suppress_prefixlength",
    "sup_pl",
    "suppress_ifgroup",
    "sup_group",
    "dev",
    "iif",
    "oif",
    "tunnel-id",
    "uidrange",
    "protocol",
    "ipproto",
    "ip_proto",
    "sport",
    "dport",
    "no_track",
    "track_group",
    "default",
    "all",
];

/// Reads a line; returns the rule, and the interfaces that it can't be without.
pub(super) fn read(
    line: &mut Line<'_>,
    preferences: &mut Preferences,
) -> Read<(Rule, Vec<Device>)> {
    let mut draft = Draft::default();
    while let Some(word) = line.next() {
        let taken = draft.networks(line, word)?
            || draft.action(line, word)?
            || draft.matches(line, word)?
            || draft.options(line, word)?;
        if !taken {
            return Err(unknown(word, "rule", WORDS.into_iter()).into());
        }
    }
    draft.finish(line, preferences)
}

/// What a line says so far.
#[derive(Default)]
struct Draft<'w> {
    not: bool,
    from: Option<Option<Network>>,
    to: Option<Option<Network>>,
    action: Option<(Action, &'w Word)>,
    preference: Option<u32>,
    tos: Option<u32>,
    mark: Option<Mark>,
    realms: Option<(Realms, &'w Word)>,
    suppress_length: Option<(u32, &'w Word)>,
    suppress_group: Option<(u32, &'w Word)>,
    input: Option<&'w Word>,
    output: Option<&'w Word>,
    tunnel: Option<u64>,
    users: Option<(u32, u32)>,
    ip_protocol: Option<u8>,
    source_ports: Option<(u16, u16)>,
    destination_ports: Option<(u16, u16)>,
    protocol: Option<(u32, &'w Word)>,
    no_track: bool,
}

impl<'w> Draft<'w> {
    fn networks(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        let slot = match word.text.as_str() {
            "inet" => return line.be(Family::V4, word).map(|()| true),
            "inet6" => return line.be(Family::V6, word).map(|()| true),
            "not" => {
                self.not = true;
                return Ok(true);
            }
            "from" => &mut self.from,
            "to" => &mut self.to,
            _ => return Ok(false),
        };
        let value = line.value(word)?;
        let network = line.network(value)?;
        line.once(slot, network, word)?;
        Ok(true)
    }

    fn action(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        let word = if word.text == "type" { line.value(word)? } else { word };
        let action = match word.text.as_str() {
            "table" | "lookup" => {
                let value = line.peek();
                let table = line.name(word, Names::Tables)?;
                // It would be the main one, which nobody means by it.
                let nothing = value.filter(|value| matches!(value.text.as_str(), "0" | "unspec"));
                if let Some(value) = nothing {
                    return Err(wrong(
                        word,
                        value,
                        "write the number or name of a table".to_owned(),
                    )
                    .into());
                }
                Action::Table(table)
            }
            "l3mdev" => Action::L3mdev,
            "goto" => Action::Goto(line.number(word, u32::MAX)?),
            "nop" => Action::Nop,
            "blackhole" => Action::Blackhole,
            "unreachable" => Action::Unreachable,
            "prohibit" => Action::Prohibit,
            _ => return Ok(false),
        };
        if let Some((_, first)) = self.action {
            let message = "a rule does one thing";
            let diag = Diag::error(Code::Conflict, word.span.clone(), message);
            return Err((diag
                .hint("leave all but one out of table, l3mdev, goto, nop, blackhole, unreachable, prohibit")
                .also(first.span.clone(), "the first one")).into());
        }
        self.action = Some((action, word));
        Ok(true)
    }

    /// Which packets it is about.
    fn matches(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        match word.text.as_str() {
            "tos" | "dsfield" => {
                let tos = line.name(word, Names::Fields)?;
                line.once(&mut self.tos, tos, word)?;
            }
            "fwmark" => {
                let value = line.value(word)?;
                let mark = mark(&value.text);
                let hint = || "write `MARK` or `MARK/MASK`".to_owned();
                let mark = mark.ok_or_else(|| wrong(word, value, hint()))?;
                line.once(&mut self.mark, mark, word)?;
            }
            "dev" | "iif" => {
                let device = line.device(word)?;
                line.once(&mut self.input, device, word)?;
            }
            "oif" => {
                let device = line.device(word)?;
                line.once(&mut self.output, device, word)?;
            }
            "tunnel-id" => {
                let value = line.value(word)?;
                let hint = || format!("write a number from 0 to {}", u64::MAX);
                let plain = value.text.bytes().all(|byte| byte.is_ascii_digit());
                let tunnel = value.text.parse().ok().filter(|_| plain);
                let tunnel = tunnel.ok_or_else(|| wrong(word, value, hint()))?;
                line.once(&mut self.tunnel, tunnel, word)?;
            }
            "uidrange" => {
                let users = range(line, word, u32::MAX, false)?;
                line.once(&mut self.users, users, word)?;
            }
            "ipproto" | "ip_proto" => {
                let number = u8::try_from(line.name(word, Names::IpProtocols)?).unwrap_or(u8::MAX);
                line.once(&mut self.ip_protocol, number, word)?;
            }
            "sport" => {
                let ports = ports(line, word)?;
                line.once(&mut self.source_ports, ports, word)?;
            }
            "dport" => {
                let ports = ports(line, word)?;
                line.once(&mut self.destination_ports, ports, word)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn options(&mut self, line: &mut Line<'w>, word: &'w Word) -> Read<bool> {
        match word.text.as_str() {
            "preference" | "order" | "priority" => {
                let preference = line.number(word, u32::MAX)?;
                line.once(&mut self.preference, preference, word)?;
            }
            "realms" => {
                let realms = line.realms(word)?;
                line.once(&mut self.realms, (realms, word), word)?;
            }
            "suppress_prefixlength" | "sup_pl" => {
                let length = line.number(word, 128)?;
                line.once(&mut self.suppress_length, (length, word), word)?;
            }
            "suppress_ifgroup" | "sup_group" => {
                let group = line.name(word, Names::Groups)?;
                line.once(&mut self.suppress_group, (group, word), word)?;
            }
            "protocol" => {
                let value = line.name(word, Names::Protocols)?;
                line.once(&mut self.protocol, (value, word), word)?;
            }
            "no_track" => self.no_track = true,
            "track_group" => {
                let message = "`track_group` behind a rule that moves";
                let diag = Diag::error(Code::WrongPlace, word.span.clone(), message);
                return Err(diag.hint("it is for `static_rules`: leave it out").into());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(
        self,
        line: &mut Line<'w>,
        preferences: &mut Preferences,
    ) -> Read<(Rule, Vec<Device>)> {
        let Some((action, _)) = self.action else {
            let fault = line.fault(Code::Missing, "a rule that does nothing");
            return Err(fault.hint("write `table` and the table's number").into());
        };
        let options = [
            self.realms.map(|(_, word)| word),
            self.suppress_length.map(|(_, word)| word),
            self.suppress_group.map(|(_, word)| word),
        ];
        if let Some(word) = options.into_iter().flatten().next().filter(|_| !action.asks()) {
            let message = format!("`{}` where no table is asked", word.text);
            return Err(Diag::error(Code::Conflict, word.span.clone(), message).into());
        }
        let family = line.family();
        let preference = self.preference(line, family, action, preferences)?;
        let tracked = !self.no_track;
        // The kernel takes a rule whose interface is not there.
        let needed = [self.input, self.output].into_iter().flatten().filter(|_| tracked);
        let devices = needed.map(|word| Device::new(word, tracked)).collect();
        let name = |word: &Word| word.text.clone();
        let rule = Rule {
            family,
            not: self.not,
            from: self.from.flatten().filter(|network| network.length > 0),
            to: self.to.flatten().filter(|network| network.length > 0),
            tos: self.tos.and_then(|tos| u8::try_from(tos).ok()).unwrap_or(0),
            mark: self.mark,
            realms: self.realms.map(|(realms, _)| realms),
            suppress_length: self.suppress_length.map(|(length, _)| length),
            suppress_group: self.suppress_group.map(|(group, _)| group),
            input: self.input.map(name),
            output: self.output.map(name),
            tunnel: self.tunnel,
            users: self.users,
            ip_protocol: self.ip_protocol,
            source_ports: self.source_ports,
            destination_ports: self.destination_ports,
            protocol: line.protocol(self.protocol, tracked),
            tracked,
            ..Rule::new(Network::all(family), preference, action)
        };
        Ok((rule, devices))
    }

    /// Its preference: as written, else the next one that keepalived would give.
    fn preference(
        &self,
        line: &mut Line<'w>,
        family: Family,
        action: Action,
        preferences: &mut Preferences,
    ) -> Read<u32> {
        match (self.preference, action) {
            (None, Action::Goto(_)) => {
                let fault = line.fault(Code::Missing, "`goto` in a rule without a preference");
                Err(fault.hint("write `preference` and a number below the one it goes to").into())
            }
            (Some(preference), Action::Goto(to)) if preference >= to => {
                let message = format!("`goto {to}` from {preference}: rules are asked upwards");
                let fault = line.fault(Code::Conflict, message);
                Err(fault.hint(format!("write a number above {preference}")).into())
            }
            (Some(preference), _) => Ok(preference),
            (None, _) => {
                let preference = preferences.take(family);
                let diag = line.fault(Code::Missing, "a rule without a preference");
                let diag = Diag { severity: Severity::Warning, ..diag };
                let now = format!(
                    "it gets {preference}, as in keepalived; with other rules in the file it may get another"
                );
                line.said
                    .push(diag.now(now).hint("write `preference` and a number from 1 to 32765"));
                Ok(preference)
            }
        }
    }
}

fn mark(text: &str) -> Option<Mark> {
    match text.split_once('/') {
        None => Some(Mark { value: number(text)?, mask: None }),
        Some((value, mask)) => Some(Mark { value: number(value)?, mask: Some(number(mask)?) }),
    }
}

/// `FIRST-LAST`, or perhaps one number.
fn range(line: &mut Line<'_>, word: &Word, most: u32, single: bool) -> Read<(u32, u32)> {
    let value = line.value(word)?;
    let read = match value.text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None if single => number(&value.text).map(|one| (one, one)),
        None => None,
    };
    read.filter(|(first, last)| first <= last && *last <= most).ok_or_else(|| {
        wrong(word, value, format!("write `FIRST-LAST`, numbers from 0 to {most}")).into()
    })
}

fn ports(line: &mut Line<'_>, word: &Word) -> Read<(u16, u16)> {
    let (first, last) = range(line, word, u32::from(u16::MAX), true)?;
    let port = |number| u16::try_from(number).unwrap_or(u16::MAX);
    Ok((port(first), port(last)))
}
