//! Lines of `virtual_ipaddress`.

use std::net::{IpAddr, Ipv4Addr};

use vrrp_proto::settings::{Broadcast, VirtualAddress};

use super::super::ast::Word;
use super::super::diag::{Code, Diag};
use super::super::model::Span;
use super::super::suggest::{lookalike, nearest, shown};
use super::super::value::{Bad, interface};
use super::items::{Item, REFUSES, flaw_diag, flawed_words};
use super::{Ctx, Refusal, extra_words};

/// The words that can stand behind an address.
pub(super) const OPTIONS: [&str; 16] = [
    "dev",
    "use_vmac",
    "brd",
    "broadcast",
    "label",
    "scope",
    "no_track",
    "noprefixroute",
    "preferred_lft",
    "peer",
    "track_group",
    "home",
    "-nodad",
    "nodad",
    "mngtmpaddr",
    "autojoin",
];

/// An address and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// The address.
    pub(super) address: VirtualAddress,
    /// Its first word.
    pub(super) span: Span,
    /// The interface that is written beside it, and where.
    pub(super) placed: Option<(String, Span)>,
    /// It goes on a macvlan of its own: `use_vmac` behind it, or the instance's `use_vmac_addr`.
    pub(super) on_vmac: bool,
}

/// Reads a block of addresses. `device` is the instance's interface.
pub(super) fn block(
    ctx: &mut Ctx,
    item: &Item<'_>,
    device: &str,
    lost: &str,
) -> (Vec<Written>, Vec<Refusal>) {
    let mut written = Vec::new();
    let mut refusals = Vec::new();
    for statement in item.statements() {
        if statement.block.is_some() {
            let message = format!("a block inside `{}`", item.known.name);
            let diag = Diag::error(Code::Brace, statement.head(), message).now(lost);
            refusals.push(ctx.lose(diag.hint("only addresses stand here: look at the braces")));
            continue;
        }
        let mut rest = &statement.words[..];
        while let [first, ..] = rest {
            if first.text.starts_with("//") {
                ctx.push(extra_words(rest, "no address is read from it"));
                break;
            }
            let advertised = item.known.name == "virtual_ipaddress";
            let mut reader = Reader { ctx, lost, advertised, refusals: Vec::new() };
            let (read, after) = reader.one(rest, device);
            refusals.append(&mut reader.refusals);
            let own = &rest[..rest.len() - after.len()];
            let placed = own.windows(2).rfind(|pair| pair[0].text == "dev");
            let placed = placed.map(|pair| (pair[1].text.clone(), pair[1].span.clone()));
            let on_vmac = own.iter().any(|word| word.text == "use_vmac");
            let span = first.span.clone();
            written.extend(read.map(|address| Written { address, span, placed, on_vmac }));
            rest = after;
        }
    }
    (written, refusals)
}

struct Reader<'c> {
    ctx: &'c mut Ctx,
    lost: &'c str,
    /// They are in the adverts.
    advertised: bool,
    refusals: Vec<Refusal>,
}

impl Reader<'_> {
    fn lose(&mut self, diag: Diag) {
        let refusal = self.ctx.lose(diag.now(self.lost));
        self.refusals.push(refusal);
    }

    /// One address with its options; also what stands behind it.
    fn one<'w>(&mut self, words: &'w [Word], device: &str) -> (Option<VirtualAddress>, &'w [Word]) {
        if let Some((word, flaw)) = flawed_words(words) {
            self.lose(flaw_diag(word, flaw));
            return (None, &[]);
        }
        let (ip, prefix) = match parse(&words[0].text) {
            Ok(parsed) => parsed,
            Err(mut bad) => {
                if OPTIONS.contains(&words[0].text.as_str()) {
                    bad = bad.hint("the address comes first, its options behind it");
                }
                let diag = Diag::error(Code::Address, words[0].span.clone(), bad.message);
                self.lose(diag.hint_if(bad.hint));
                return (None, &[]);
            }
        };
        self.warn_host_part(&words[0], ip, prefix);
        let mut address = VirtualAddress::new(ip, prefix, device);
        // As keepalived: an address with no network is no source, unless it is said to be.
        let alone = ip.is_ipv6() && prefix == 128 && !words.iter().any(|word| word.text == "peer");
        address.preferred = alone.then_some(0);
        let mut rest = &words[1..];
        while let [option, after @ ..] = rest {
            if option.text.starts_with("//") {
                self.ctx.push(extra_words(rest, &format!("the address is {ip}/{prefix}")));
                return (Some(address), &[]);
            }
            if parse(&option.text).is_ok() {
                self.second_address(option);
                return (Some(address), rest);
            }
            rest = self.option(&mut address, option, after);
        }
        (Some(address), &[])
    }

    fn second_address(&mut self, word: &Word) {
        let message = format!("a second address on one line: `{}`", shown(&word.text));
        let peers = if self.advertised { REFUSES } else { "" };
        self.ctx.push(
            Diag::warning(Code::OneLine, word.span.clone(), message)
                .now(format!("both are read; keepalived would ignore it{peers}"))
                .hint("give it a line of its own"),
        );
    }

    /// The network's own address or its broadcast address is hardly meant.
    fn warn_host_part(&mut self, word: &Word, ip: IpAddr, prefix: u8) {
        let IpAddr::V4(ip) = ip else { return };
        if prefix == 0 || prefix > 30 {
            return;
        }
        let host = u32::from(ip) & (u32::MAX >> prefix);
        let what = match host {
            0 => "the network's own",
            host if host == u32::MAX >> prefix => "the broadcast",
            _ => return,
        };
        let message = format!("{ip} is {what} address of its /{prefix}");
        self.ctx.push(
            Diag::warning(Code::Address, word.span.clone(), message)
                .now("it is taken as written; other hosts may not talk to it"),
        );
    }

    /// One option and its value; returns what follows.
    fn option<'w>(
        &mut self,
        address: &mut VirtualAddress,
        option: &Word,
        after: &'w [Word],
    ) -> &'w [Word] {
        match option.text.as_str() {
            "no_track" => address.tracked = false,
            "noprefixroute" => address.no_prefix_route = true,
            "-nodad" | "home" | "mngtmpaddr" if address.ip.is_ipv4() => {
                self.without(option, "for IPv6 only");
            }
            "-nodad" => address.detect_duplicates = true,
            "home" => address.home = true,
            "mngtmpaddr" => address.manage_temporary = true,
            // Without the dash it is what every IPv6 address gets; the other is looked at with the block.
            "nodad" | "use_vmac" => {}
            "autojoin" => self.without(option, "for multicast addresses only"),
            "dev" | "brd" | "broadcast" | "label" | "scope" | "preferred_lft" | "peer"
            | "track_group" => {
                let [value, rest @ ..] = after else {
                    let message = format!("`{}` has no value", option.text);
                    self.lose(Diag::error(Code::NoValue, option.span.clone(), message));
                    return &[];
                };
                self.valued(address, option, value);
                return rest;
            }
            other => {
                let message = format!("`{}` is no option of an address", shown(other));
                let device =
                    interface(option).is_ok() && other.ends_with(|c: char| c.is_ascii_digit());
                let near = nearest(other, OPTIONS.into_iter());
                let hint =
                    if device { Some(format!("write `dev {}`", shown(other))) } else { None };
                let hint = hint.or(near.map(|near| format!("did you mean `{near}`?")));
                let all = || format!("behind an address stand {}", OPTIONS.join(", "));
                let hint = hint.unwrap_or_else(all);
                self.lose(Diag::error(Code::Address, option.span.clone(), message).hint(hint));
                return &[];
            }
        }
        after
    }

    /// An option that means nothing for this address.
    fn without(&mut self, option: &Word, what: &str) {
        let message = format!("`{}` is {what}", option.text);
        let diag = Diag::warning(Code::Address, option.span.clone(), message);
        self.ctx.push(diag.now("the address is set without it"));
    }

    /// The other end of a point-to-point link, whose network the prefix length is of.
    fn peer(&mut self, address: &mut VirtualAddress, value: &Word) {
        let longest = if address.ip.is_ipv4() { 32 } else { 128 };
        let fault = match parse(&value.text) {
            Ok((peer, _)) if peer.is_ipv4() != address.ip.is_ipv4() => {
                Bad::new(format!("`peer`: {peer} is of the other family"))
            }
            Ok(_) if address.prefix != longest => {
                let hint = format!("write it behind the peer: `peer ADDRESS/{}`", address.prefix);
                Bad::new("`peer`: a prefix length in front of it").hint(hint)
            }
            Ok((peer, prefix)) => {
                (address.peer, address.prefix) = (Some(peer), prefix);
                return;
            }
            Err(bad) => bad,
        };
        let diag = Diag::error(Code::Address, value.span.clone(), fault.message);
        self.lose(diag.hint_if(fault.hint));
    }

    fn valued(&mut self, address: &mut VirtualAddress, option: &Word, value: &Word) {
        let text = value.text.as_str();
        let bad = |what: &str| {
            let message = format!("`{}`: `{}` is {what}", option.text, shown(text));
            Diag::error(Code::Address, value.span.clone(), message)
        };
        match option.text.as_str() {
            "dev" => match interface(value) {
                Ok(name) => address.device = name,
                Err(wrong) => {
                    let diag = Diag::error(Code::Address, value.span.clone(), wrong.message);
                    self.lose(diag.hint_if(wrong.hint));
                }
            },
            "brd" | "broadcast" => match (broadcast(text), address.ip) {
                (Some(broadcast), IpAddr::V4(_)) => address.broadcast = broadcast,
                (Some(_), IpAddr::V6(_)) => {
                    let diag = bad("for IPv4 only").now("the address gets no broadcast address");
                    self.ctx.push(diag);
                }
                (None, _) => {
                    let diag =
                        bad("no broadcast address").hint("write `+`, `-` or an IPv4 address");
                    self.ctx.push(diag.now("the address gets no broadcast address"));
                }
            },
            "label" if text.len() > 15 || text.is_empty() => {
                let diag = bad("not 1 to 15 bytes long").now("the address gets no label");
                self.ctx.push(diag);
            }
            "label" => address.label = Some(text.to_owned()),
            "scope" => match scope(text) {
                Some(scope) => address.scope = scope,
                None => {
                    let diag = bad("no scope").now("the address gets scope global");
                    let hint = "write global, site, link, host, nowhere or a number up to 255";
                    self.ctx.push(diag.hint(hint));
                }
            },
            "preferred_lft" => match text {
                "forever" => address.preferred = None,
                seconds => match seconds.parse() {
                    Ok(seconds) => address.preferred = Some(seconds),
                    Err(_) => {
                        let diag = bad("no number of seconds").hint("write seconds or `forever`");
                        self.ctx.push(diag.now("the address is set without it"));
                    }
                },
            },
            "peer" => self.peer(address, value),
            _ => {
                let message = format!("`{}` is not served yet", option.text);
                let diag = Diag::notice(Code::NotServed, option.span.clone(), message);
                self.ctx.push(diag.now("the address is set without it"));
            }
        }
    }
}

fn broadcast(text: &str) -> Option<Broadcast> {
    match text {
        "+" => Some(Broadcast::HostBitsSet),
        "-" => Some(Broadcast::HostBitsClear),
        text => text.parse().ok().map(Broadcast::Address),
    }
}

/// A scope by its name in `rt_scopes` or its number.
fn scope(text: &str) -> Option<u8> {
    match text {
        "global" => Some(0),
        "site" => Some(200),
        "link" => Some(253),
        "host" => Some(254),
        "nowhere" => Some(255),
        text => text.parse().ok(),
    }
}

/// `ADDRESS` or `ADDRESS/PREFIX`; without a prefix the address alone.
pub(super) fn parse(text: &str) -> Result<(IpAddr, u8), Bad> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let ip = ip(address)?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix else { return Ok((ip, longest)) };
    let bad = || Bad::new(format!("`/{}` is no prefix length", shown(prefix)));
    if let Ok(length) = prefix.parse::<u8>() {
        if length <= longest && !prefix.starts_with('+') {
            return Ok((ip, length));
        }
        let message =
            format!("/{} is longer than the {longest} bits of the address", shown(prefix));
        return Err(Bad::new(message).hint(format!("write a number from 0 to {longest}")));
    }
    if let Some(length) = prefix.parse::<Ipv4Addr>().ok().and_then(mask_length) {
        return Err(bad().hint(format!("write the length of the mask: `{ip}/{length}`")));
    }
    let plain = prefix.trim_end_matches([';', ',']);
    if plain != prefix {
        return Err(bad().hint(format!("write `{ip}/{}`", shown(plain))));
    }
    Err(bad().hint(format!("write a number from 0 to {longest}")))
}

fn mask_length(mask: Ipv4Addr) -> Option<u32> {
    let bits = u32::from(mask);
    (bits.leading_ones() + bits.trailing_zeros() >= 32).then(|| bits.leading_ones())
}

/// An address that a host on the link can have.
pub(super) fn ip(text: &str) -> Result<IpAddr, Bad> {
    let ip = text.parse::<IpAddr>().map_err(|_| not_an_address(text))?;
    let what = if ip.is_unspecified() {
        "the address of no host"
    } else if ip.is_loopback() {
        "a loopback address, which no other host reaches"
    } else if ip.is_multicast() {
        "a multicast address"
    } else if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        "the broadcast address"
    } else {
        return Ok(ip);
    };
    Err(Bad::new(format!("{ip} is {what}")))
}

fn not_an_address(text: &str) -> Bad {
    let bad = Bad::new(format!("`{}` is not an IP address", shown(text)));
    let plain = text.trim_end_matches([';', ',']);
    if plain != text && plain.parse::<IpAddr>().is_ok() {
        return bad.hint(format!("write `{plain}`: nothing ends a line here"));
    }
    if let Some((c, meant)) = lookalike(text) {
        return bad
            .hint(format!("`{c}` (U+{:04X}) only looks like {meant}: type it again", c as u32));
    }
    let parts: Vec<&str> = text.split('.').collect();
    let numeric = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric && parts.len() > 1 {
        if let Some(part) =
            parts.iter().find(|part| part.parse::<u8>().is_err() && !part.is_empty())
        {
            return bad.hint(format!("`{}` is more than 255", shown(part)));
        }
        let short: Vec<String> = parts
            .iter()
            .filter_map(|part| part.parse::<u8>().ok())
            .map(|n| n.to_string())
            .collect();
        if parts.len() == 4 && short.len() == 4 {
            return bad.hint(format!("write it without leading zeros: `{}`", short.join(".")));
        }
        return bad.hint(format!("an IPv4 address has four numbers, this has {}", short.len()));
    }
    if text.split_once('-').is_some_and(|(from, _)| from.parse::<IpAddr>().is_ok()) {
        return bad.hint("ranges are not read: write each address on its own line");
    }
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') {
        return bad.hint("names are not looked up: write the address itself");
    }
    bad
}

/// An address of a host, which has no length.
pub(super) fn host(ctx: &mut Ctx, word: &Word) -> Result<IpAddr, Bad> {
    let Some((address, length)) = word.text.split_once('/') else { return ip(&word.text) };
    let read = ip(address)?;
    parse(&word.text)?;
    let message = format!("`/{}` behind the address of a host", shown(length));
    let diag = Diag::warning(Code::Address, word.span.clone(), message);
    ctx.push(diag.now("it is dropped, as in keepalived").hint(format!("write `{read}`")));
    Ok(read)
}

/// The same address twice in one instance: the first one is held. `advertised`: so many of the first
/// are in the adverts.
pub(super) fn without_twins(
    ctx: &mut Ctx,
    written: Vec<Written>,
    advertised: usize,
    lost: &str,
) -> (Vec<Written>, Vec<Refusal>) {
    let mut kept: Vec<Written> = Vec::new();
    let mut refusals = Vec::new();
    let mut seen = std::collections::BTreeMap::new();
    for (number, one) in written.into_iter().enumerate() {
        let Some(&at) = seen.get(&one.address.ip) else {
            seen.insert(one.address.ip, kept.len());
            kept.push(one);
            continue;
        };
        let twin: &Written = &kept[at];
        let message = format!("{} is written twice", one.address.ip);
        let place = |one: &Written| (one.address.device.clone(), one.address.peer, one.on_vmac);
        if place(twin) == place(&one) {
            let now = if number < advertised {
                "the first one is held and advertised once; keepalived counts both: a peer with this \
                 file refuses the adverts"
            } else {
                "the first one is held"
            };
            let diag = Diag::warning(Code::Twice, one.span, message).now(now);
            let diag = diag.hint("leave it out, on all routers");
            ctx.push(diag.also(twin.span.clone(), "the first one"));
        } else {
            let message = format!("{message}, and in two places");
            let diag = Diag::error(Code::Twice, one.span, message).now(lost);
            let diag = diag.hint("one address is on one interface: leave one of the two out");
            refusals.push(ctx.lose(diag.also(twin.span.clone(), "the first one")));
        }
    }
    (kept, refusals)
}
