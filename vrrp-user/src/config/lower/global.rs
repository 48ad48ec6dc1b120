//! `global_defs`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use vrrp_common::{Family, Version, wire};

use super::super::ast::Statement;
use super::super::model::{Datapath, Global, Scheduling};
use super::super::suggest::{nearest, shown};
use super::super::value::{Bad, integer, interface, said, seconds, switch};
use super::super::words::{self, Place};
use super::garp::{Garp, LONGEST};
use super::items::{Item, bad_value, first, items};
use super::options::Options;
use super::strict::Places;
use super::{Ctx, Refusal, command, schedule, unicast};

/// `vmac_prefix` where it is not set.
const VMAC_PREFIX: &str = "vrrp";
/// The shortest and the longest life of an address without the daemon, in seconds. The kernel counts
/// whole ones, and what lives for less than two is renewed more often than a watch beats.
const LEASES: RangeInclusive<i64> = 2..=86_400;

/// What instances start from.
pub(super) struct Defaults {
    /// The GARP keywords.
    pub(super) garp: Garp,
    /// The keywords that an instance has too.
    pub(super) options: Options,
    /// `vrrp_mcast_group4`.
    pub(super) group_v4: IpAddr,
    /// `vrrp_mcast_group6`.
    pub(super) group_v6: IpAddr,
    /// `vmac_prefix`.
    pub(super) vmac_prefix: String,
    /// Where each keyword is written first.
    pub(super) places: Places,
    /// What costs every instance that does not say it for itself.
    pub(super) lost: Vec<Refusal>,
}

/// Lowers all `global_defs` blocks as if they were one.
pub(super) fn lower(ctx: &mut Ctx, blocks: &[&Statement]) -> (Global, Defaults) {
    let mut draft = Draft::new();
    for statement in blocks {
        if let Some(extra) = statement.words.get(1..).filter(|extra| !extra.is_empty()) {
            ctx.push(super::extra_words(extra, "the block is read"));
        }
        let statements = statement.block.as_ref().map_or(&[][..], |block| &block.items);
        let lost = "no instance is run";
        let (items, refusals) = items(ctx, Place::Global, lost, statements);
        draft.defaults.lost.extend(refusals);
        for item in &items {
            draft.take(ctx, item);
        }
    }
    if draft.min_garp {
        draft.defaults.garp.least();
    }
    if draft.global.vmac_addr_prefix.is_empty() {
        draft.global.vmac_addr_prefix.clone_from(&draft.defaults.vmac_prefix);
    }
    (draft.global, draft.defaults)
}

struct Draft {
    global: Global,
    defaults: Defaults,
    min_garp: bool,
}

impl Draft {
    fn new() -> Self {
        let global = Global {
            router_id: None,
            version: Version::V2,
            script_user: None,
            script_security: false,
            startup_delay: Duration::ZERO,
            garp_interval: Duration::ZERO,
            gna_interval: Duration::ZERO,
            datapath: None,
            address_lease: None,
            log_unknown: false,
            vmac_addr_prefix: String::new(),
            link_delays: BTreeMap::new(),
            scheduling: Scheduling::default(),
        };
        let defaults = Defaults {
            garp: Garp::default(),
            options: Options::default(),
            group_v4: wire::group(Family::V4),
            group_v6: wire::group(Family::V6),
            vmac_prefix: VMAC_PREFIX.to_owned(),
            places: Places::new(),
            lost: Vec::new(),
        };
        Self { global, defaults, min_garp: false }
    }

    fn take(&mut self, ctx: &mut Ctx, item: &Item<'_>) {
        self.defaults.places.entry(item.known.name).or_insert_with(|| item.head());
        if self.defaults.garp.take(ctx, item) {
            return;
        }
        match self.defaults.options.take(ctx, item) {
            Ok(true) => return,
            Ok(false) => {}
            Err(bad) => return self.lose(ctx, item, bad),
        }
        let global = &mut self.global;
        match item.known.name {
            "router_id" => global.router_id = Some(first(item).text.clone()),
            "vrrp_version" => self.version(ctx, item),
            "script_user" => global.script_user = command::user(item.args),
            "enable_script_security" => flag(ctx, &mut global.script_security, item),
            "vrrp_startup_delay" => plain_time(ctx, &mut global.startup_delay, item),
            "vrrp_garp_interval" => plain_time(ctx, &mut global.garp_interval, item),
            "vrrp_gna_interval" => plain_time(ctx, &mut global.gna_interval, item),
            "vrrp_min_garp" => flag(ctx, &mut self.min_garp, item),
            "log_unknown_vrids" => flag(ctx, &mut global.log_unknown, item),
            "vrrp_mcast_group4" => self.group(ctx, item, Family::V4),
            "vrrp_mcast_group6" => self.group(ctx, item, Family::V6),
            "vmac_prefix" | "vmac_addr_prefix" => self.prefix(ctx, item),
            "vrrp_datapath" => self.datapath(ctx, item),
            "vrrp_address_lease" => lease(ctx, &mut global.address_lease, item),
            _ => schedule::take(ctx, &mut global.scheduling, item),
        }
    }

    fn version(&mut self, ctx: &mut Ctx, item: &Item<'_>) {
        match version(item) {
            Ok(version) => self.global.version = version,
            Err(bad) => self.lose(ctx, item, bad),
        }
    }

    /// A bad value costs the instances that don't say it for themselves.
    fn lose(&mut self, ctx: &mut Ctx, item: &Item<'_>, bad: Bad) {
        let name = item.known.name;
        let now = words::own(name).map_or_else(
            || "no instance is run".to_owned(),
            |own| format!("only instances with a `{own}` of their own are run"),
        );
        let mut refusal = ctx.lose(bad_value(item, bad).now(now));
        if words::own(name).is_some() {
            refusal.word = name;
        }
        self.defaults.lost.push(refusal);
    }

    fn group(&mut self, ctx: &mut Ctx, item: &Item<'_>, family: Family) {
        let group = unicast::group(first(item)).and_then(|ip| {
            let other = Bad::new(format!("{ip} is of the other family"));
            if ip.is_ipv4() == (family == Family::V4) { Ok(ip) } else { Err(other) }
        });
        match (group, family) {
            (Ok(ip), Family::V4) => self.defaults.group_v4 = ip,
            (Ok(ip), Family::V6) => self.defaults.group_v6 = ip,
            (Err(bad), _) => self.lose(ctx, item, bad),
        }
    }

    /// `vmac_prefix` and `vmac_addr_prefix`: the beginning of interfaces' names.
    fn prefix(&mut self, ctx: &mut Ctx, item: &Item<'_>) {
        match interface(first(item)) {
            Ok(prefix) if item.known.name == "vmac_prefix" => self.defaults.vmac_prefix = prefix,
            Ok(prefix) => self.global.vmac_addr_prefix = prefix,
            Err(bad) => self.lose(ctx, item, bad),
        }
    }

    fn datapath(&mut self, ctx: &mut Ctx, item: &Item<'_>) {
        const WORDS: [(&str, Datapath); 4] = [
            ("auto", Datapath::Auto),
            ("xdp", Datapath::Xdp),
            ("generic", Datapath::Generic),
            ("socket", Datapath::Socket),
        ];
        let text = first(item).text.as_str();
        match WORDS.iter().find(|(word, _)| *word == text) {
            Some((_, datapath)) => self.global.datapath = Some(*datapath),
            None => {
                let bad = Bad::new(format!("`{}` is no data path", shown(text)));
                let near = nearest(text, WORDS.iter().map(|(word, _)| *word));
                let hint = near.map_or_else(
                    || "write `auto`, `xdp`, `generic` or `socket`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                ctx.push(bad_value(item, bad.hint(hint)).now("`auto` is used"));
            }
        }
    }
}

/// `2` or `3`.
pub(super) fn version(item: &Item<'_>) -> Result<Version, Bad> {
    let number = integer(first(item), 2..=3).map_err(|bad| bad.hint("write `2` or `3`"))?;
    let version = u8::try_from(number).ok().and_then(Version::new);
    version.ok_or_else(|| Bad::new("there is no such version"))
}

/// A switch, bare meaning on. One that is neither keeps what was said before.
pub(super) fn flag(ctx: &mut Ctx, slot: &mut bool, item: &Item<'_>) {
    match switch(item.args.first()) {
        Ok(on) => *slot = on,
        Err(bad) => {
            let now = format!("it stays {}", if *slot { "on" } else { "off" });
            ctx.push(bad_value(item, bad).now(now));
        }
    }
}

fn lease(ctx: &mut Ctx, slot: &mut Option<Duration>, item: &Item<'_>) {
    match integer(first(item), LEASES) {
        Ok(seconds) => *slot = Some(Duration::from_secs(seconds.unsigned_abs())),
        Err(bad) => {
            let now = slot.map_or_else(
                || "addresses stay until they are taken off".to_owned(),
                |lease| format!("it stays {}", said(lease)),
            );
            ctx.push(bad_value(item, bad).now(now));
        }
    }
}

fn plain_time(ctx: &mut Ctx, slot: &mut Duration, item: &Item<'_>) {
    match seconds(first(item), LONGEST) {
        Ok(time) => *slot = time,
        Err(bad) => ctx.push(bad_value(item, bad).now(format!("it stays {}", said(*slot)))),
    }
}
