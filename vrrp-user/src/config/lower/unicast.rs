//! Where adverts go and where they come from: groups, `unicast_peer` and its kin.

use std::net::IpAddr;

use vrrp_common::{Family, wire};

use super::super::ast::Word;
use super::super::diag::{Code, Diag};
use super::super::model::{Destination, Peer, Span, Unicast};
use super::super::suggest::{nearest, shown};
use super::super::value::{Bad, integer};
use super::address;
use super::draft::Draft;
use super::extra_words;
use super::instance::Maker;
use super::items::{Item, flaw_diag, flawed_words};

/// A peer and where it was written.
type Written = (Peer, Span);

/// The words that mean unicast, where no peer is written.
const WORDS: [&str; 5] =
    ["unicast_peer", "unicast_src_ip", "unicast_ttl", "check_unicast_src", "unicast_fault_no_peer"];

/// A group that a link carries: of IPv6 the link-local ones (`ffX2::`).
pub(super) fn group(word: &Word) -> Result<IpAddr, Bad> {
    let text = word.text.as_str();
    let ip: IpAddr =
        text.parse().map_err(|_| Bad::new(format!("`{}` is not an IP address", shown(text))))?;
    if !ip.is_multicast() {
        return Err(Bad::new(format!("{ip} is not a multicast address"))
            .hint("VRRP's own groups are 224.0.0.18 and ff02::12"));
    }
    match ip {
        IpAddr::V6(v6) if v6.segments()[0] & 0xf != 2 => {
            Err(Bad::new(format!("{ip} is not link-local"))
                .hint("groups of a link begin with ff02, or ff12 for one of your own"))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(ip),
    }
}

impl Maker<'_> {
    /// Where adverts go: to the peers, where there are any, else to the group.
    pub(super) fn destination(&mut self, draft: &mut Draft<'_>, family: Family) -> Destination {
        let group = self.group(draft, family);
        let before = draft.refusals.len();
        let mut written = Vec::new();
        for block in std::mem::take(&mut draft.peers) {
            self.peers(draft, &block, &mut written);
        }
        let listed = !written.is_empty();
        let peers = self.others(draft, family, written);
        let faulty = draft.refusals.len() > before;
        if peers.is_empty() && !faulty {
            self.without_peers(draft, listed);
        }
        if !listed && !draft.fault_no_peer {
            return Destination::Group(group);
        }
        if let Some((_, span)) = &draft.group {
            let message = "`mcast_dst_ip` beside `unicast_peer`";
            let diag = Diag::warning(Code::Conflict, span.clone(), message);
            self.ctx.push(diag.now("adverts go to the peers alone").hint("leave one of them out"));
        }
        Destination::Peers(Unicast {
            peers,
            ttl: draft.unicast_ttl.as_ref().map_or(wire::TTL, |(ttl, _)| *ttl),
            check_source: draft.ttl_bounds || self.options.check_source.unwrap_or(false),
            fault_no_peer: draft.fault_no_peer,
        })
    }

    /// What it means that nobody is left to send to.
    fn without_peers(&mut self, draft: &Draft<'_>, listed: bool) {
        let Some(word) = WORDS.into_iter().find(|word| draft.places.contains_key(word)) else {
            return;
        };
        let (message, now) = match (listed, draft.fault_no_peer) {
            (true, false) => (
                "`unicast_peer` names nobody but the source written here".to_owned(),
                "it takes the addresses and sends to nobody",
            ),
            (_, true) => (
                "there is no `unicast_peer`".to_owned(),
                "it stays in FAULT: `unicast_fault_no_peer`",
            ),
            (false, false) => (
                match word {
                    "unicast_peer" => "`unicast_peer` is empty".to_owned(),
                    _ => format!("`{word}` without a `unicast_peer`"),
                },
                "adverts are multicast, as in keepalived",
            ),
        };
        let diag = Diag::warning(Code::Missing, draft.places[word].clone(), message);
        self.ctx.push(diag.now(now).hint("write the other routers into `unicast_peer`"));
    }

    fn group(&mut self, draft: &mut Draft<'_>, family: Family) -> IpAddr {
        let standard = match family {
            Family::V4 => self.common.defaults.group_v4,
            Family::V6 => self.common.defaults.group_v6,
        };
        let Some((group, span)) = draft.group.clone() else { return standard };
        if group.is_ipv4() != (family == Family::V4) {
            let message = format!("`mcast_dst_ip {group}` is not of the addresses' family");
            self.lose(draft, Diag::error(Code::Conflict, span, message));
        }
        group
    }

    /// Reads a block of peers.
    fn peers(&mut self, draft: &mut Draft<'_>, item: &Item<'_>, peers: &mut Vec<Written>) {
        for statement in item.statements() {
            if statement.block.is_some() {
                let diag =
                    Diag::error(Code::Brace, statement.head(), "a block inside `unicast_peer`");
                self.lose(draft, diag.hint("only addresses stand here: look at the braces"));
                continue;
            }
            if let Some((word, flaw)) = flawed_words(&statement.words) {
                self.lose(draft, flaw_diag(word, flaw));
                continue;
            }
            let mut rest = &statement.words[..];
            while let [first, after @ ..] = rest {
                if first.text.starts_with("//") {
                    self.ctx.push(extra_words(rest, "no peer is read from it"));
                    break;
                }
                if rest.len() < statement.words.len() {
                    let message = format!("a second peer on one line: `{}`", shown(&first.text));
                    let diag = Diag::warning(Code::OneLine, first.span.clone(), message);
                    let now = "both are read; keepalived would ignore it";
                    self.ctx.push(diag.now(now).hint("give it a line of its own"));
                }
                let (peer, after) = self.peer(draft, first, after);
                peers.extend(peer.map(|peer| (peer, first.span.clone())));
                rest = after;
            }
        }
    }

    /// One peer with its bounds; also what stands behind it.
    fn peer<'w>(
        &mut self,
        draft: &mut Draft<'_>,
        first: &Word,
        mut rest: &'w [Word],
    ) -> (Option<Peer>, &'w [Word]) {
        let address = match address::host(self.ctx, first) {
            Ok(ip) => ip,
            Err(bad) => {
                let diag = Diag::error(Code::Address, first.span.clone(), bad.message);
                self.lose(draft, diag.hint_if(bad.hint));
                return (None, &[]);
            }
        };
        let mut peer = Peer { address, min_ttl: 0, max_ttl: u8::MAX };
        while let [option, after @ ..] = rest {
            let slot = match option.text.as_str() {
                "min_ttl" => &mut peer.min_ttl,
                "max_ttl" => &mut peer.max_ttl,
                text if text.starts_with("//") || address::parse(text).is_ok() => break,
                other => {
                    let message = format!("`{}` is no option of a peer", shown(other));
                    let diag = Diag::error(Code::Address, option.span.clone(), message);
                    let near = nearest(other, ["min_ttl", "max_ttl"].into_iter());
                    let hint = near.map_or_else(
                        || "behind a peer stand `min_ttl N` and `max_ttl N`".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.lose(draft, diag.hint(hint));
                    return (None, &[]);
                }
            };
            let [value, after @ ..] = after else {
                let message = format!("`{}` has no value", option.text);
                self.lose(draft, Diag::error(Code::NoValue, option.span.clone(), message));
                return (None, &[]);
            };
            // Whatever the value: 255 and 0 leave all TTLs, and still say that the peer is known.
            draft.ttl_bounds = true;
            match ttl(value) {
                Ok(ttl) => *slot = ttl,
                Err(bad) => {
                    let message = format!("`{}`: {}", option.text, bad.message);
                    let diag = Diag::error(Code::BadValue, value.span.clone(), message);
                    self.lose(draft, diag.hint_if(bad.hint));
                }
            }
            rest = after;
        }
        if peer.min_ttl > peer.max_ttl {
            let message = format!(
                "{address} can have no TTL: {} is more than {}",
                peer.min_ttl, peer.max_ttl
            );
            let diag = Diag::error(Code::Conflict, first.span.clone(), message);
            self.lose(draft, diag.hint("`min_ttl` is the least, `max_ttl` the greatest"));
        }
        (Some(peer), rest)
    }

    /// The peers without this host itself and without twins.
    fn others(
        &mut self,
        draft: &mut Draft<'_>,
        family: Family,
        written: Vec<Written>,
    ) -> Vec<Peer> {
        let own = draft.source.as_ref().map(|(ip, _)| *ip);
        let mut kept: Vec<Written> = Vec::new();
        for (peer, span) in written {
            let ip = peer.address;
            if ip.is_ipv4() != (family == Family::V4) {
                let message = format!("the peer {ip} is not of the addresses' family");
                self.lose(draft, Diag::error(Code::Conflict, span, message));
            } else if own == Some(ip) {
                let message = format!("the peer {ip} is the source that is written here, too");
                let diag = Diag::notice(Code::Twice, span, message);
                self.ctx.push(diag.now("nothing is sent to it"));
            } else if let Some((first, before)) = kept.iter().find(|(one, _)| one.address == ip) {
                let same = *first == peer;
                let message = format!("the peer {ip} is written twice");
                let also = (before.clone(), "the first one");
                if same {
                    let diag = Diag::warning(Code::Twice, span, message).now("once is enough");
                    self.ctx.push(diag.also(also.0, also.1));
                } else {
                    let message = format!("{message}, and not the same way");
                    let diag = Diag::error(Code::Twice, span, message).also(also.0, also.1);
                    self.lose(draft, diag);
                }
            } else {
                kept.push((peer, span));
            }
        }
        kept.into_iter().map(|(peer, _)| peer).collect()
    }
}

/// A TTL or hop limit.
pub(super) fn ttl(word: &Word) -> Result<u8, Bad> {
    Ok(integer(word, 0..=255)?.unsigned_abs() as u8)
}
