//! The addresses of an instance, and what they have to be like.

use std::net::IpAddr;

use vrrp_common::wire::{self, family_of};
use vrrp_common::{Family, Priority, Version};

use super::super::diag::{Code, Diag};
use super::super::model::Span;
use super::super::suggest::shown;
use super::address::{self, Written};
use super::draft::Draft;
use super::instance::Maker;
use super::items::Item;

/// The most addresses an advert can count (RFC 9568 §5.2.5).
const MOST: usize = 255;
/// The most IPv6 addresses that fit a packet of 1500 bytes: an advert is never sent in fragments.
const MOST_V6: usize = (1500 - 40 - wire::HEADER) / 16;

impl Maker<'_> {
    pub(super) fn addresses(
        &mut self,
        draft: &mut Draft<'_>,
        device: &str,
    ) -> (Vec<Written>, Vec<Written>) {
        let before = draft.refusals.len();
        let mut lists = [Vec::new(), Vec::new()];
        let blocks = [std::mem::take(&mut draft.addresses), std::mem::take(&mut draft.excluded)];
        for (list, blocks) in lists.iter_mut().zip(&blocks) {
            for block in blocks {
                let (written, lost) = address::block(self.ctx, block, device, &self.lost);
                list.extend(written);
                draft.refusals.extend(lost);
            }
        }
        let [addresses, excluded] = lists;
        // What is there and faulty has had its message.
        if addresses.is_empty() && draft.refusals.len() == before {
            let block = blocks[0].first().map(Item::head);
            let absent = (!self.mentions("virtual_ipaddress")).then(|| self.span.clone());
            draft.nobody = block.or(absent);
        }
        let advertised = addresses.len();
        let all = addresses.into_iter().chain(excluded).collect();
        let inside: Vec<Span> = blocks[0].iter().map(block_span).collect();
        let (all, lost) = address::without_twins(self.ctx, all, advertised, &self.lost);
        draft.refusals.extend(lost);
        let inside = |one: &Written| inside.iter().any(|span| span.contains(&one.span.start));
        let (mut addresses, mut excluded): (Vec<_>, Vec<_>) = all.into_iter().partition(inside);
        self.keep_one_family(&mut addresses, &mut excluded);
        let (most, what) = match addresses.first().map(|one| one.address.ip) {
            Some(IpAddr::V6(_)) => (MOST_V6, "IPv6 addresses"),
            Some(IpAddr::V4(_)) | None => (MOST, "addresses"),
        };
        if addresses.len() > most {
            let rest = addresses.split_off(most);
            let message =
                format!("an advert holds {most} {what}, and here are {}", most + rest.len());
            let diag = Diag::warning(Code::TooMany, rest[0].span.clone(), message);
            let now =
                "from here on they are held like `virtual_ipaddress_excluded`, as in keepalived";
            self.ctx.push(diag.now(now).hint("move them there, or into a second instance"));
            excluded.splice(0..0, rest);
        }
        (addresses, excluded)
    }

    /// An advert has addresses of one family, the first one's. The others are held without it:
    /// all that was written is there, and peers hear what keepalived sends.
    fn keep_one_family(&mut self, addresses: &mut Vec<Written>, excluded: &mut Vec<Written>) {
        let Some(first) = addresses.first().map(|one| (one.address.ip, one.span.clone())) else {
            return;
        };
        let same = |one: &Written| family_of(one.address.ip) == family_of(first.0);
        let (kept, others): (Vec<_>, Vec<_>) =
            std::mem::take(addresses).into_iter().partition(same);
        *addresses = kept;
        let Some(other) = others.first() else { return };
        let family = if other.address.ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let message = "IPv4 and IPv6 addresses in one advert";
        let now = format!(
            "the {family} addresses are held like `virtual_ipaddress_excluded`; keepalived leaves \
             them out"
        );
        let diag = Diag::warning(Code::Conflict, other.span.clone(), message)
            .hint("an advert carries one family: move them to `virtual_ipaddress_excluded` or to an instance of its own")
            .also(first.1, "the first one sets the family");
        self.ctx.push(diag.now(now));
        excluded.splice(0..0, others);
    }

    /// The family of the adverts: the addresses', or without any the source's.
    pub(super) fn family(draft: &Draft<'_>, addresses: &[Written]) -> Family {
        let source = draft.source.as_ref().map(|(ip, _)| *ip);
        addresses.first().map(|one| one.address.ip).or(source).map_or(Family::V4, family_of)
    }

    /// RFC 3768 lets an advert carry no address, RFC 9568 §5.2.5 does not.
    pub(super) fn go_without_addresses(&mut self, draft: &mut Draft<'_>, version: Version) {
        let Some(span) = draft.nobody.take() else { return };
        let message = format!("{} has no address in `virtual_ipaddress`", shown(&self.name));
        let write = "write `virtual_ipaddress { ADDRESS/LENGTH }`";
        let wanted_by = match version {
            Version::V3 => Some("an advert of version 3 names one at least"),
            Version::V2 => self.strict().then_some("strict mode wants one"),
        };
        if let Some(why) = wanted_by {
            let diag = Diag::error(Code::Missing, span, format!("{message}: {why}"));
            self.lose(draft, diag.hint(write));
        } else if !draft.places.contains_key("no_virtual_ipaddress") {
            let diag = Diag::warning(Code::Missing, span, message);
            let word = "`no_virtual_ipaddress`, which keepalived 2.2 does not know";
            let hint = format!("{write}, or, if it is meant so, {word}");
            self.ctx.push(diag.hint(hint).now("its adverts name none, as in keepalived"));
        }
    }

    pub(super) fn check_family(
        &mut self,
        draft: &mut Draft<'_>,
        family: Family,
        addresses: &[Written],
    ) {
        let Some(first) = addresses.first() else { return };
        let other = |(ip, _): &(IpAddr, Span)| family_of(*ip) != family;
        if let Some((source, span)) = draft.source.clone().filter(other) {
            let word = source_word(draft);
            let message = format!("`{word} {source}` is not of the addresses' family");
            let diag = Diag::error(Code::Conflict, span, message);
            self.lose(draft, diag.also(first.span.clone(), "the first address"));
        }
        if let IpAddr::V6(ip) = first.address.ip
            && draft.peers.is_empty()
            && !ip.is_unicast_link_local()
        {
            let message = format!("the first IPv6 address, {ip}, is not link-local");
            let diag = Diag::warning(Code::Address, first.span.clone(), message);
            let now = "it is sent as it is; routers that follow RFC 9568 may refuse its adverts";
            let hint = "write the virtual router's link-local address first, `fe80::1/64` say";
            self.ctx.push(diag.now(now).hint(hint));
        }
        self.check_source_scope(draft);
    }

    /// To a group, an IPv6 advert comes from a link-local address (RFC 9568 §5.1.2.1, §7.2).
    fn check_source_scope(&mut self, draft: &Draft<'_>) {
        if let Some((IpAddr::V6(ip), span)) = &draft.source
            && draft.peers.is_empty()
            && !ip.is_unicast_link_local()
        {
            let message = format!("`{} {ip}` is not link-local", source_word(draft));
            let diag = Diag::warning(Code::Address, span.clone(), message);
            let now = "adverts carry it as it is; routers that follow RFC 9568 may refuse them";
            let hint = "leave it out, or write the link-local address of the interface";
            self.ctx.push(diag.now(now).hint(hint));
        }
    }

    /// A virtual address is the MASTER's: a BACKUP that sends from it is not told from the MASTER.
    pub(super) fn check_source<'w>(
        &mut self,
        draft: &mut Draft<'_>,
        priority: Priority,
        mut held: impl Iterator<Item = &'w Written>,
    ) {
        let Some((source, span)) = draft.source.clone().filter(|_| !priority.is_owner()) else {
            return;
        };
        if let Some(virtual_one) = held.find(|one| one.address.ip == source) {
            let word = source_word(draft);
            let message = format!("`{word} {source}` is one of its virtual addresses");
            let diag = Diag::error(Code::Conflict, span, message)
                .hint("write an address that is this host's alone, or leave it out")
                .also(virtual_one.span.clone(), "the virtual address");
            self.lose(draft, diag);
        }
    }
}

/// The keyword that the source address is behind.
fn source_word(draft: &Draft<'_>) -> &'static str {
    let is = |word: &&str| {
        let said = draft.source.as_ref().map(|(_, span)| span);
        draft.places.get(*word).is_some_and(|place| Some(place) == said)
    };
    ["unicast_src_ip"].into_iter().find(is).unwrap_or("mcast_src_ip")
}

/// From a block's keyword to its end.
fn block_span(item: &Item<'_>) -> Span {
    let last = item.statements().last().map_or(item.key.span.end, |line| line.head().end);
    item.key.span.start..last
}
