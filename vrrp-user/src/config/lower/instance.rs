//! `vrrp_instance`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vrrp_common::Priority;
use vrrp_common::time::DOWN_ADVERTS;
use vrrp_proto::Paths;

use super::super::ast::Statement;
use super::super::diag::{Code, Diag};
use super::super::model::{Config, Destination, Global, Instance, Refused, Sharing, Span, Tracked};
use super::super::suggest::{nearest, shown};
use super::super::words::{self, OWN_WORDS, Place};
use super::address::Written;
use super::draft::Draft;
use super::global::Defaults;
use super::items::{Item, items};
use super::options::Options;
use super::script::Scripts;
use super::{Ctx, Refusal, auth, block_name, paths, strict, track};

/// A block, read: the instance as far as it could be made, and why it is not run.
pub(super) struct Lowered {
    /// Its name.
    pub(super) name: String,
    /// Where the name is written.
    pub(super) span: Span,
    /// The instance, unless something it can't be without is missing.
    pub(super) instance: Option<Instance>,
    /// Its interface, or its VRF, as they are written, and where.
    pub(super) links: Vec<(String, Span)>,
    /// Where its addresses are written.
    pub(super) written: Vec<Written>,
    /// What it routes by, also where it is not run.
    paths: Arc<Paths>,
    /// The interfaces that its routes name.
    pub(super) devices: Vec<paths::Device>,
    /// Why it is not run; empty if it is.
    pub(super) refusals: Vec<Refusal>,
    /// The keywords of `global_defs` that it sets for itself.
    own: Vec<&'static str>,
}

impl Lowered {
    /// Refuses it for what the file's globals cost, unless it sets that for itself.
    pub(super) fn refuse_for_file(&mut self, lost: &[Refusal]) {
        let own = &self.own;
        let counts = |refusal: &&Refusal| refusal.word.is_empty() || !own.contains(&refusal.word);
        self.refusals.extend(lost.iter().filter(counts).cloned());
    }

    /// Puts it where it belongs.
    pub(super) fn settle(self, config: &mut Config) {
        let mut refusals = self.refusals;
        let addresses = self.written.into_iter().map(|one| one.address);
        refusals.dedup();
        match (self.instance, refusals.split_first()) {
            (Some(instance), None) => config.instances.push(Arc::new(instance)),
            (_, first) => {
                let reason = match first {
                    Some((first, [])) => first.reason.clone(),
                    Some((first, more)) => format!("{}, and {} more", first.reason, more.len()),
                    None => "it is not complete".to_owned(),
                };
                // Without an interface nothing is known of where they would be.
                let addresses = addresses.filter(|address| !address.device.is_empty()).collect();
                let (name, paths) = (self.name, self.paths);
                config.refused.push(Refused { name, reason, addresses, paths });
            }
        }
    }
}

/// What a file says beside its instances.
#[derive(Clone, Copy)]
pub(super) struct Common<'c> {
    /// `global_defs`.
    pub(super) global: &'c Global,
    /// What instances start from.
    pub(super) defaults: &'c Defaults,
    /// The `vrrp_script` blocks.
    pub(super) scripts: &'c Scripts,
}

/// Lowers one block.
pub(super) fn lower(ctx: &mut Ctx, block: &Item<'_>, common: Common<'_>) -> Lowered {
    let named = block_name(ctx, block);
    let unnamed = Refusal { word: "", reason: "it has no name".to_owned() };
    let refusals = if named.is_some() { Vec::new() } else { vec![unnamed] };
    let (name, span) = named.unwrap_or_else(|| ("(unnamed)".to_owned(), block.key.span.clone()));
    let lost = format!("{} is not run", shown(&name));
    let (items, more) = items(ctx, Place::Instance, &lost, block.statements());
    let mut draft = Draft::new();
    draft.refusals.extend(refusals);
    draft.refusals.extend(more);
    for item in &items {
        draft.take(ctx, item, &lost);
    }
    let said = |word: &str| {
        block.statements().iter().any(|line| line.words.first().is_some_and(|key| key.text == word))
    };
    let own = OWN_WORDS.iter().filter(|(_, own)| said(own)).map(|(word, _)| *word).collect();
    let statements = block.statements();
    let options = draft.options.or(&common.defaults.options);
    let maker = Maker { ctx, name, span, lost, statements, common, options };
    maker.make(draft, own)
}

/// What making an instance of a draft needs.
pub(super) struct Maker<'c> {
    pub(super) ctx: &'c mut Ctx,
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) lost: String,
    statements: &'c [Statement],
    pub(super) common: Common<'c>,
    /// As the instance says, else `global_defs`.
    pub(super) options: Options,
}

impl Maker<'_> {
    fn make(mut self, mut draft: Draft<'_>, own: Vec<&'static str>) -> Lowered {
        self.require(&mut draft);
        let device = draft.interface.as_ref().map_or("", |(name, _)| name).to_owned();
        let links = self.links(&mut draft);
        let (mut addresses, mut excluded) = self.addresses(&mut draft, &device);
        let family = Self::family(&draft, &addresses);
        for list in [&mut addresses, &mut excluded] {
            self.put_on_vmacs(&mut draft, family, &device, list);
        }
        let (paths, devices) = self.paths(&mut draft);
        let paths = Arc::new(paths);
        let mut instance = self.instance(&mut draft, &addresses, &excluded);
        if let Some(instance) = &mut instance {
            instance.paths.clone_from(&paths);
            self.be_strict(&draft, instance);
        }
        let written = addresses.into_iter().chain(excluded).collect();
        let (name, span) = (self.name, self.span);
        let refusals = draft.refusals;
        Lowered { name, span, instance, links, written, paths, devices, refusals, own }
    }

    /// The instance as it is written.
    fn instance(
        &mut self,
        draft: &mut Draft<'_>,
        addresses: &[Written],
        excluded: &[Written],
    ) -> Option<Instance> {
        let family = Self::family(draft, addresses);
        self.check_family(draft, family, addresses);
        let version = self.version(draft, family);
        self.go_without_addresses(draft, version);
        let interval = self.interval(draft, version);
        let (wants_master, priority) = self.rank(draft);
        let auth = auth::lower(self, draft, version);
        let preempt = self.preemption(draft, wants_master, priority);
        self.check_source(draft, priority, addresses.iter().chain(excluded));
        let (track_scripts, track_interfaces) = self.tracks(draft, priority);
        let destination = self.destination(draft, family);
        let unicast = matches!(destination, Destination::Peers(_));
        let own_link = self.own_link(draft, family, unicast);
        let plain = |list: &[Written]| list.iter().map(|one| one.address.clone()).collect();
        let options = self.options;
        let interface = draft.interface.take()?.0;
        let delays = self.common.global.link_delays.get(&interface);
        let source = draft.source.as_ref().map(|(ip, _)| *ip);
        Some(Instance {
            name: self.name.clone(),
            vrid: draft.vrid.as_ref().map(|(vrid, _)| *vrid)?,
            sharing: Sharing::Alone,
            link_delays: delays.copied().unwrap_or_default(),
            sought: source.filter(|_| interface.is_empty()),
            vrf: draft.vrf.take().map(|(vrf, _)| vrf),
            interface,
            priority,
            interval,
            version,
            family,
            preempt,
            preempt_delay: draft.preempt_delay.take().map_or(Duration::ZERO, |(delay, _)| delay),
            auth,
            addresses: plain(addresses),
            excluded: plain(excluded),
            paths: Arc::default(),
            source,
            track_source: self.track_source(draft),
            destination,
            own_link,
            address_links: Vec::new(),
            announce: draft.garp.resolve(&self.common.defaults.garp),
            announce_elsewhere: draft.garp.elsewhere(&self.common.defaults.garp),
            track_scripts,
            track_interfaces,
            track_devices: Vec::new(),
            dont_track_primary: draft.places.contains_key("dont_track_primary"),
            form: options.form(),
            lower_prio_no_advert: options.lower_prio_no_advert.unwrap_or(false),
            higher_prio_send_advert: options.higher_prio_send_advert.unwrap_or(false),
            accept: self.accept(draft, priority),
            same_addresses: options.same_addresses.unwrap_or(false),
            skip_check_adv_addr: options.skip_check_adv_addr.unwrap_or(false),
            owner_ignore_adverts: options.owner_ignore_adverts.unwrap_or(false),
            down_timer_adverts: options.down_timer_adverts.unwrap_or(DOWN_ADVERTS),
            timer_expired_backup: self.timer_expired(draft, preempt),
            promote_secondaries: draft.places.contains_key("promote_secondaries"),
            notify: std::mem::take(&mut draft.notify),
            span: self.span.clone(),
        })
    }

    /// What strict mode changes.
    fn be_strict(&mut self, draft: &Draft<'_>, instance: &mut Instance) {
        if !self.strict() {
            return;
        }
        let places = &self.common.defaults.places;
        for diag in strict::apply(instance, &draft.options, &draft.places, places) {
            self.ctx.push(diag);
        }
    }

    /// Strict mode: `strict_mode`, else `vrrp_strict`.
    pub(super) fn strict(&self) -> bool {
        self.options.strict == Some(true)
    }

    pub(super) fn lose(&mut self, draft: &mut Draft<'_>, diag: Diag) {
        let refusal = self.ctx.lose(diag.now(&*self.lost));
        draft.refusals.push(refusal);
    }

    /// `accept` and `no_accept`, the last of which counts. An owner's addresses always answer.
    fn accept(&mut self, draft: &Draft<'_>, priority: Priority) -> bool {
        if !priority.is_owner() {
            return draft.accept.unwrap_or(!self.strict());
        }
        if let (Some(false), Some(span)) = (draft.accept, draft.places.get("no_accept")) {
            let message = "`no_accept` does not go with priority 255";
            let diag = Diag::warning(Code::Conflict, span.clone(), message);
            self.ctx.push(diag.now("the addresses answer: their owner's always do"));
        }
        true
    }

    fn track_source(&mut self, draft: &Draft<'_>) -> bool {
        let Some(span) = draft.places.get("track_src_ip") else { return false };
        if draft.source.is_none() {
            let message = "`track_src_ip` without a source address";
            let diag = Diag::warning(Code::Conflict, span.clone(), message);
            let now = "it changes nothing, as in keepalived";
            self.ctx.push(diag.now(now).hint("write `mcast_src_ip` or `unicast_src_ip`"));
        }
        draft.source.is_some()
    }

    fn timer_expired(&mut self, draft: &Draft<'_>, preempt: bool) -> Option<Priority> {
        let (priority, span) = draft.timer_expired.clone()?;
        if preempt {
            let message = "`timer_expired_backup` without `nopreempt`";
            let diag = Diag::warning(Code::Conflict, span, message);
            self.ctx
                .push(diag.now("it changes nothing").hint("write `nopreempt`, or leave it out"));
            return None;
        }
        Some(priority)
    }

    /// What an instance can't be without. A word that is there and faulty has had its message.
    fn require(&mut self, draft: &mut Draft<'_>) {
        let router_id =
            "write `virtual_router_id` and a number from 1 to 255, the same on all routers";
        let missing = [
            ("interface", !self.has_interface(draft), "write `interface` and the link's name"),
            ("virtual_router_id", draft.vrid.is_none(), router_id),
        ];
        for (word, is_missing, hint) in missing {
            if is_missing && !self.mentions(word) {
                let message = format!("{} has no `{word}`", shown(&self.name));
                let diag = Diag::error(Code::Missing, self.span.clone(), message).hint(hint);
                self.lose(draft, diag);
            }
        }
    }

    /// An interface, or a source address and peers: whichever interface has the address is meant then.
    fn has_interface(&self, draft: &mut Draft<'_>) -> bool {
        if draft.interface.is_some() {
            return true;
        }
        let (Some((source, span)), false) = (&draft.source, draft.peers.is_empty()) else {
            return false;
        };
        // A link-local address is on any link.
        let anywhere = !matches!(source, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if anywhere && !self.mentions("interface") {
            draft.interface = Some((String::new(), span.clone()));
        }
        anywhere
    }

    /// The interfaces that the instance is to be found by. Where one is written, that says which VRF it is.
    fn links(&mut self, draft: &mut Draft<'_>) -> Vec<(String, Span)> {
        let interface = draft.interface.clone().filter(|(name, _)| !name.is_empty());
        if interface.is_some()
            && let Some((_, span)) = draft.vrf.take()
        {
            let diag = Diag::warning(Code::Conflict, span, "`vrf` beside `interface`");
            let now =
                "it changes nothing, as in keepalived: the interface is in its VRF or in none";
            self.ctx.push(diag.now(now).hint("leave one of the two out"));
        }
        interface.into_iter().chain(draft.vrf.clone()).collect()
    }

    /// Says whether the block has this word, or something that was to be it.
    pub(super) fn mentions(&self, word: &str) -> bool {
        let keys = self.statements.iter().filter_map(|line| line.words.first());
        let mut keys = keys.map(|key| key.text.split(['=', ':', ';']).next().unwrap_or_default());
        let is_another = |key| words::lookup(Place::Instance, key).is_some();
        keys.any(|key| {
            key == word
                || !is_another(key) && nearest(key, [word].into_iter()).is_some()
                || words::alias(Place::Instance, key).is_some_and(|known| known.name == word)
        })
    }

    /// Its own interface is tracked by itself, or not at all: `dont_track_primary`.
    fn drop_own(&mut self, draft: &Draft<'_>, tracked: &mut Vec<Tracked>) {
        let own = draft.interface.as_ref().map(|(name, _)| name);
        for one in tracked.extract_if(.., |one| Some(&one.name) == own) {
            let message = format!("`{}` is the instance's own interface", shown(&one.name));
            let diag = Diag::warning(Code::Conflict, one.span, message);
            let now = if draft.places.contains_key("dont_track_primary") {
                "it is not tracked, as in keepalived: `dont_track_primary`"
            } else {
                "its loss is a FAULT anyway, and a weight is not used, as in keepalived"
            };
            self.ctx.push(diag.now(now).hint("leave it out of `track_interface`"));
        }
    }

    fn tracks(
        &mut self,
        draft: &mut Draft<'_>,
        priority: Priority,
    ) -> (Vec<Tracked>, Vec<Tracked>) {
        let (mut scripts, mut interfaces) = (Vec::new(), Vec::new());
        for item in std::mem::take(&mut draft.track_scripts) {
            let (tracked, lost) = track::scripts(self.ctx, &item, self.common.scripts, &self.lost);
            scripts.extend(tracked);
            draft.refusals.extend(lost);
        }
        for item in std::mem::take(&mut draft.track_interfaces) {
            let (tracked, lost) =
                track::interfaces(self.ctx, &item, &self.common.global.link_delays, &self.lost);
            interfaces.extend(tracked);
            draft.refusals.extend(lost);
        }
        self.drop_own(draft, &mut interfaces);
        let weighted = scripts.iter().chain(&interfaces).find(|one| one.weight.value != 0);
        if let Some(one) = weighted.filter(|_| priority.is_owner()) {
            let message = format!("the weight of `{}` can't move priority 255", shown(&one.name));
            let diag = Diag::warning(Code::Conflict, one.span.clone(), message);
            let now = "its failure changes nothing, as in keepalived";
            self.ctx.push(diag.now(now).hint("write a priority of 254 or less, or weight 0"));
        }
        (scripts, interfaces)
    }
}
