//! `use_vmac`, `use_ipvlan` and their kin.

use std::net::IpAddr;

use vrrp_common::wire::family_of;
use vrrp_common::{Family, Vrid};

use super::super::ast::{Word, span_of};
use super::super::diag::{Code, Diag};
use super::super::model::{IpvlanMode, OwnLink, OwnLinkKind};
use super::super::suggest::shown;
use super::super::value::{Bad, integer, interface};
use super::address::{self, Written};
use super::draft::Draft;
use super::instance::Maker;
use super::items::{Item, first};

/// The greatest number of a group of interfaces.
const GROUPS: i64 = u32::MAX as i64;

/// What stands behind `use_vmac` and `use_ipvlan`, before it is known what the instance is.
#[derive(Default)]
struct Words {
    name: Option<String>,
    mac: Option<[u8; 6]>,
    source: Option<(IpAddr, u8)>,
    mode: Option<IpvlanMode>,
    group: u32,
}

impl Maker<'_> {
    /// The interface that the instance makes for itself. Its name is empty where none is written.
    pub(super) fn own_link(
        &mut self,
        draft: &mut Draft<'_>,
        family: Family,
        unicast: bool,
    ) -> Option<OwnLink> {
        let vmac = draft.vmac.take();
        let ipvlan = draft.ipvlan.take();
        if let (Some(_), Some((_, span))) = (&vmac, &ipvlan) {
            let diag = Diag::error(Code::Conflict, span.clone(), "`use_ipvlan` beside `use_vmac`");
            self.lose(draft, diag.hint("an instance has one interface of its own"));
        }
        let Some((item, _)) = vmac.as_ref().or(ipvlan.as_ref()) else {
            if draft.places.contains_key("vmac_xmit_base") {
                self.only_with_vmac(draft, "vmac_xmit_base");
            }
            return None;
        };
        if draft.interface.as_ref().is_some_and(|(name, _)| name.is_empty()) {
            let message = format!("`{}` without `interface`", item.known.name);
            let diag = Diag::error(Code::Missing, item.head(), message);
            self.lose(draft, diag.hint("write `interface` and the link to make it on"));
        }
        let is_vmac = vmac.is_some();
        let vrid = draft.vrid.as_ref().map(|(vrid, _)| *vrid)?;
        let words = match self.words(draft, item, is_vmac, vrid) {
            Ok(words) => words,
            Err(diag) => {
                self.lose(draft, *diag);
                return None;
            }
        };
        let kind = if is_vmac {
            OwnLinkKind::Macvlan(words.mac.unwrap_or_else(|| vrid.mac(family).octets()))
        } else {
            self.check_source_of_ipvlan(draft, item, family, &words);
            let mode = words.mode.unwrap_or_default();
            OwnLinkKind::Ipvlan { source: words.source, mode }
        };
        let mut send_on_base = draft.places.contains_key("vmac_xmit_base");
        if send_on_base && !is_vmac {
            self.only_with_vmac(draft, "vmac_xmit_base");
            send_on_base = false;
        }
        if unicast && is_vmac && !send_on_base {
            let diag = Diag::warning(Code::Conflict, item.head(), "`use_vmac` with `unicast_peer`");
            let now =
                "adverts leave by the instance's own interface: their MAC address does not matter";
            self.ctx.push(diag.now(now).hint("say so with `vmac_xmit_base`"));
            send_on_base = true;
        }
        let (named, name) = (words.name.is_some(), words.name.unwrap_or_default());
        Some(OwnLink { kind, name, named, send_on_base, group: words.group })
    }

    /// `use_vmac_addr`: addresses on other interfaces than the instance's, or of the other family, are on
    /// macvlans, as those with `use_vmac` behind them are.
    pub(super) fn put_on_vmacs(
        &mut self,
        draft: &mut Draft<'_>,
        family: Family,
        device: &str,
        written: &mut [Written],
    ) {
        let all = draft.places.contains_key("use_vmac_addr");
        for one in written {
            let elsewhere = one.address.device != device || family_of(one.address.ip) != family;
            one.on_vmac |= all && elsewhere;
            if one.on_vmac && one.address.device.is_empty() {
                let message = format!("{} is to be on a macvlan of no interface", one.address.ip);
                let diag = Diag::error(Code::Missing, one.span.clone(), message);
                self.lose(draft, diag.hint("write `interface`, or `dev` behind the address"));
            }
        }
    }

    fn only_with_vmac(&mut self, draft: &Draft<'_>, word: &str) {
        let Some(span) = draft.places.get(word).cloned() else { return };
        let message = format!("`{word}` without `use_vmac`");
        let diag = Diag::warning(Code::Conflict, span, message);
        self.ctx.push(diag.now("it changes nothing, as in keepalived"));
    }

    fn words(
        &mut self,
        draft: &Draft<'_>,
        item: &Item<'_>,
        is_vmac: bool,
        vrid: Vrid,
    ) -> Result<Words, Box<Diag>> {
        let mut words = Words::default();
        let mut rest = item.args;
        let fault = |word: &Word, bad: Bad| {
            let message = format!("`{}`: {}", item.known.name, bad.message);
            let diag = Diag::error(Code::BadValue, word.span.clone(), message);
            Box::new(diag.hint_if(bad.hint))
        };
        while let [word, after @ ..] = rest {
            rest = after;
            match (word.text.as_str(), after) {
                ("name", [name, more @ ..]) => {
                    words.name = Some(interface(name).map_err(|bad| fault(name, bad))?);
                    rest = more;
                }
                ("group", [group, more @ ..]) => {
                    words.group = self.link_group(word, group);
                    rest = more;
                }
                ("netlink_notify_msg", _) if is_vmac => {}
                ("bridge", _) if !is_vmac => words.mode = Some(IpvlanMode::Bridge),
                ("private", _) if !is_vmac => words.mode = Some(IpvlanMode::Private),
                ("vepa", _) if !is_vmac => words.mode = Some(IpvlanMode::Vepa),
                (text, _) if text.starts_with("//") => {
                    self.ctx.push(super::extra_words(
                        &item.args[item.args.len() - after.len() - 1..],
                        "the words before it count",
                    ));
                    break;
                }
                (text, _) if is_vmac && text.contains(':') => {
                    words.mac = Some(mac(text, vrid.get()).map_err(|bad| fault(word, bad))?);
                }
                (text, _) if !is_vmac && address::parse(text).is_ok() => {
                    words.source = address::parse(text).ok();
                }
                (text, _) if words.name.is_none() => {
                    if draft.interface.as_ref().is_some_and(|(name, _)| name == text) {
                        let bad = Bad::new(format!("`{}` is the interface below it", shown(text)));
                        return Err(fault(word, bad.hint("write another name, or none")));
                    }
                    words.name = Some(interface(word).map_err(|bad| fault(word, bad))?);
                }
                (text, _) => {
                    let bad = Bad::new(format!("`{}` is one word too many", shown(text)));
                    let hint = if is_vmac {
                        "behind it stand a name and a MAC address"
                    } else {
                        "behind it stand a name, an address, and `bridge`, `private` or `vepa`"
                    };
                    return Err(fault(word, bad.hint(hint)));
                }
            }
        }
        Ok(words)
    }

    /// The group of interfaces, by its number or as the one that is always there.
    fn link_group(&mut self, word: &Word, group: &Word) -> u32 {
        let number = if group.text == "default" { Ok(0) } else { integer(group, 0..=GROUPS) };
        number.map(|number| u32::try_from(number).unwrap_or_default()).unwrap_or_else(|bad| {
            let span = span_of(&[word.clone(), group.clone()]);
            let message = format!("`group`: {}", bad.message);
            let diag = Diag::warning(Code::BadValue, span, message);
            let hint = "write the group's number: names of groups are not looked up";
            self.ctx.push(diag.now("the interface is in group 0").hint(hint));
            0
        })
    }

    /// ipvlans share a MAC address: over IPv4 adverts need an address of their own to leave from.
    fn check_source_of_ipvlan(
        &mut self,
        draft: &mut Draft<'_>,
        item: &Item<'_>,
        family: Family,
        words: &Words,
    ) {
        let diag = match (words.source, family) {
            (None, Family::V4) => {
                let diag = Diag::error(Code::Missing, item.head(), "`use_ipvlan` has no address");
                diag.hint("write an address that is this host's alone behind it")
            }
            (Some((ip, _)), _) if ip.is_ipv4() != (family == Family::V4) => {
                let message = format!("{ip} is not of the addresses' family");
                Diag::error(Code::Conflict, first(item).span.clone(), message)
            }
            _ => return,
        };
        self.lose(draft, diag);
    }
}

/// A MAC address of six bytes, or of five and the VRID.
fn mac(text: &str, vrid: u8) -> Result<[u8; 6], Bad> {
    let bad = || Bad::new(format!("`{}` is no MAC address", shown(text)));
    let mut bytes = Vec::with_capacity(6);
    for part in text.split(':') {
        let plain = (1..=2).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_hexdigit());
        let byte = u8::from_str_radix(part, 16).ok().filter(|_| plain);
        bytes.push(byte.ok_or_else(bad)?);
    }
    if bytes.len() == 5 {
        bytes.push(vrid);
    }
    let mac: [u8; 6] = bytes.try_into().map_err(|_| bad())?;
    if mac[0] & 1 != 0 {
        return Err(Bad::new(format!("`{}` is the address of a group", shown(text))));
    }
    if mac == [0; 6] {
        return Err(bad());
    }
    Ok(mac)
}
