//! `vrrp_instance`.

use std::net::IpAddr;
use std::time::Duration;

use vrrp_common::time::CENTISECOND;
use vrrp_common::{Family, Interval, Priority, Version, wire};

use super::super::ast::Statement;
use super::super::diag::{Code, Diag};
use super::super::model::{Auth, Config, Destination, Global, Instance, Refused, Span};
use super::super::suggest::{nearest, shown};
use super::super::value::{Bad, said, seconds};
use super::super::words::{self, OWN_WORDS, Place};
use super::address::{self, Written};
use super::draft::Draft;
use super::global::Defaults;
use super::items::{Item, bad_value, first, items};
use super::script::Scripts;
use super::{Ctx, Refusal, auth, block_name, track};

/// Missed adverts until a takeover (RFC 9568 §6.1).
const DOWN_TIMER_ADVERTS: u8 = 3;
/// The most addresses an advert can count.
const MOST: usize = 255;

/// A block, read: the instance as far as it could be made, and why it is not run.
pub(super) struct Lowered {
    /// Its name.
    pub(super) name: String,
    /// Where the name is written.
    pub(super) span: Span,
    /// The instance, unless something it can't be without is missing.
    pub(super) instance: Option<Instance>,
    /// Where its addresses are written.
    pub(super) written: Vec<Written>,
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
            (Some(instance), None) => config.instances.push(instance),
            (_, first) => {
                let reason = match first {
                    Some((first, [])) => first.reason.clone(),
                    Some((first, more)) => format!("{}, and {} more", first.reason, more.len()),
                    None => "it is not complete".to_owned(),
                };
                // Without an interface nothing is known of where they would be.
                let addresses = addresses.filter(|address| !address.device.is_empty()).collect();
                config.refused.push(Refused { name: self.name, reason, addresses });
            }
        }
    }
}

/// Lowers one block.
pub(super) fn lower(
    ctx: &mut Ctx,
    block: &Item<'_>,
    global: &Global,
    defaults: &Defaults,
    scripts: &Scripts,
) -> Lowered {
    let named = block_name(ctx, block);
    let unnamed = Refusal { word: "", reason: "it has no name".to_owned() };
    let refusals = if named.is_some() { Vec::new() } else { vec![unnamed] };
    let (name, span) = named.unwrap_or_else(|| ("(unnamed)".to_owned(), block.key.span.clone()));
    let lost = format!("{} is not run", shown(&name));
    let (items, more) = items(ctx, Place::Instance, &lost, block.statements());
    let mut draft = Draft::new(defaults);
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
    let maker = Maker { ctx, name, span, lost, statements, global, defaults, scripts };
    maker.make(draft, own)
}

/// What making an instance of a draft needs.
struct Maker<'c> {
    ctx: &'c mut Ctx,
    name: String,
    span: Span,
    lost: String,
    statements: &'c [Statement],
    global: &'c Global,
    defaults: &'c Defaults,
    scripts: &'c Scripts,
}

impl Maker<'_> {
    fn make(mut self, mut draft: Draft<'_>, own: Vec<&'static str>) -> Lowered {
        self.require(&mut draft);
        let device = draft.interface.as_ref().map_or("", |(name, _)| name).to_owned();
        let (addresses, excluded) = self.addresses(&mut draft, &device);
        let family = match addresses.first().map(|one| one.address.ip) {
            Some(IpAddr::V6(_)) => Family::V6,
            Some(IpAddr::V4(_)) | None => Family::V4,
        };
        self.check_family(&mut draft, family, &addresses);
        let version = self.version(&mut draft, family);
        let interval = self.interval(&draft, version);
        let password = draft.authentication.take().and_then(|(block, _)| {
            let (password, refusals) = auth::lower(self.ctx, &block, version, &self.lost);
            draft.refusals.extend(refusals);
            password
        });
        let (wants_master, priority) = self.rank(&draft);
        let preempt = self.preemption(&mut draft, wants_master, priority);
        self.check_source(&mut draft, priority, addresses.iter().chain(&excluded));
        let (track_scripts, track_interfaces) = self.tracks(&mut draft, priority);
        let written: Vec<Written> = addresses.iter().chain(&excluded).cloned().collect();
        let (vrid, interface) = (draft.vrid.map(|(vrid, _)| vrid), draft.interface);
        let plain = |list: Vec<Written>| list.into_iter().map(|one| one.address).collect();
        let instance = vrid.zip(interface).map(|(vrid, (interface, _))| Instance {
            name: self.name.clone(),
            wants_master,
            interface,
            vrid,
            priority,
            interval,
            version,
            family,
            preempt,
            preempt_delay: draft.preempt_delay.map_or(Duration::ZERO, |(delay, _)| delay),
            auth: password.map(Auth::Pass),
            addresses: plain(addresses),
            excluded: plain(excluded),
            source: draft.source.map(|(source, _)| source),
            track_source: false,
            destination: Destination::Group(wire::group(family)),
            own_link: None,
            announce: draft.garp.resolve(&self.defaults.garp),
            track_scripts,
            track_interfaces,
            dont_track_primary: draft.dont_track_primary,
            form: draft.form,
            lower_prio_no_advert: draft.lower_prio_no_advert,
            higher_prio_send_advert: draft.higher_prio_send_advert,
            accept: true,
            same_addresses: false,
            skip_check_adv_addr: false,
            owner_ignore_adverts: false,
            down_timer_adverts: DOWN_TIMER_ADVERTS,
            timer_expired_backup: None,
            promote_secondaries: false,
            notify: draft.notify,
            span: self.span.clone(),
        });
        let (name, span) = (self.name, self.span);
        Lowered { name, span, instance, written, refusals: draft.refusals, own }
    }

    fn lose(&mut self, draft: &mut Draft<'_>, diag: Diag) {
        let refusal = self.ctx.lose(diag.now(&*self.lost));
        draft.refusals.push(refusal);
    }

    /// What an instance can't be without. A word that is there and faulty has had its message.
    fn require(&mut self, draft: &mut Draft<'_>) {
        let router_id =
            "write `virtual_router_id` and a number from 1 to 255, the same on all routers";
        let missing = [
            ("interface", draft.interface.is_none(), "write `interface` and the link's name"),
            ("virtual_router_id", draft.vrid.is_none(), router_id),
            (
                "virtual_ipaddress",
                draft.addresses.is_empty(),
                "write `virtual_ipaddress { ADDRESS/LENGTH }`",
            ),
        ];
        for (word, is_missing, hint) in missing {
            if is_missing && !self.mentions(word) {
                let message = format!("{} has no `{word}`", shown(&self.name));
                let diag = Diag::error(Code::Missing, self.span.clone(), message).hint(hint);
                self.lose(draft, diag);
            }
        }
    }

    /// Says whether the block has this word, or something that was to be it.
    fn mentions(&self, word: &str) -> bool {
        let keys = self.statements.iter().filter_map(|line| line.words.first());
        let mut keys = keys.map(|key| key.text.split(['=', ':', ';']).next().unwrap_or_default());
        keys.any(|key| {
            key == word
                || nearest(key, [word].into_iter()).is_some()
                || words::alias(Place::Instance, key).is_some_and(|known| known.name == word)
        })
    }

    fn addresses(&mut self, draft: &mut Draft<'_>, device: &str) -> (Vec<Written>, Vec<Written>) {
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
        let empty = addresses.is_empty() && draft.refusals.len() == before;
        if let Some(block) = blocks[0].first().filter(|_| empty) {
            let span = block.head();
            let message = format!("the `virtual_ipaddress` of {} is empty", shown(&self.name));
            let diag = Diag::error(Code::Missing, span, message);
            self.lose(draft, diag.hint("write an address into it, `192.0.2.1/24` say"));
        }
        let all = addresses.into_iter().chain(excluded).collect();
        let inside: Vec<Span> = blocks[0].iter().map(block_span).collect();
        let (all, lost) = address::without_twins(self.ctx, all, &self.lost);
        draft.refusals.extend(lost);
        let inside = |one: &Written| inside.iter().any(|span| span.contains(&one.span.start));
        let (mut addresses, mut excluded): (Vec<_>, Vec<_>) = all.into_iter().partition(inside);
        if addresses.len() > MOST {
            let rest = addresses.split_off(MOST);
            let message =
                format!("an advert holds {MOST} addresses, and here are {}", MOST + rest.len());
            let diag = Diag::warning(Code::TooMany, rest[0].span.clone(), message);
            let now =
                "from here on they are held like `virtual_ipaddress_excluded`, as in keepalived";
            self.ctx.push(diag.now(now).hint("move them there, or into a second instance"));
            excluded.splice(0..0, rest);
        }
        (addresses, excluded)
    }

    fn check_family(&mut self, draft: &mut Draft<'_>, family: Family, addresses: &[Written]) {
        let is = |ip: IpAddr| if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let Some(first) = addresses.first() else { return };
        if let Some(other) = addresses.iter().find(|one| is(one.address.ip) != family) {
            let message = "IPv4 and IPv6 addresses in one advert";
            let diag = Diag::error(Code::Conflict, other.span.clone(), message)
                .hint("an advert carries one family: move it to `virtual_ipaddress_excluded` or to an instance of its own")
                .also(first.span.clone(), "the first one sets the family");
            self.lose(draft, diag);
        }
        if let Some((source, span)) = draft.source.clone().filter(|(ip, _)| is(*ip) != family) {
            let message = format!("`mcast_src_ip {source}` is not of the addresses' family");
            let diag = Diag::error(Code::Conflict, span, message);
            self.lose(draft, diag.also(first.span.clone(), "the first address"));
        }
        if family == Family::V6 {
            let diag = Diag::error(Code::NotServed, first.span.clone(), "IPv6 is not served yet");
            self.lose(draft, diag);
        }
    }

    /// A virtual address is the MASTER's: a BACKUP that sends from it is not told from the MASTER.
    fn check_source<'w>(
        &mut self,
        draft: &mut Draft<'_>,
        priority: Priority,
        mut held: impl Iterator<Item = &'w Written>,
    ) {
        let Some((source, span)) = draft.source.clone().filter(|_| !priority.is_owner()) else {
            return;
        };
        if let Some(virtual_one) = held.find(|one| one.address.ip == source) {
            let message = format!("`mcast_src_ip {source}` is one of its virtual addresses");
            let diag = Diag::error(Code::Conflict, span, message)
                .hint("write an address that is this host's alone, or leave it out")
                .also(virtual_one.span.clone(), "the virtual address");
            self.lose(draft, diag);
        }
    }

    fn version(&mut self, draft: &mut Draft<'_>, family: Family) -> Version {
        let said = draft.version.clone();
        match (family, said) {
            (Family::V6, Some((Version::V2, span))) => {
                let message = "VRRP version 2 has no IPv6";
                let diag = Diag::error(Code::Conflict, span, message).hint("write `version 3`");
                self.lose(draft, diag);
                Version::V3
            }
            (Family::V6, _) => Version::V3,
            (Family::V4, Some((version, _))) => version,
            (Family::V4, None) => self.global.version,
        }
    }

    /// `advert_int`: whole seconds in version 2 (RFC 3768 §5.3.7), 10 ms steps in version 3. What
    /// can't be sent is rounded as keepalived rounds it, and never to 0.
    fn interval(&mut self, draft: &Draft<'_>, version: Version) -> Interval {
        let second = Duration::from_secs(1);
        let Some((item, _)) = &draft.advert_int else { return Interval::DEFAULT };
        let (step, longest) = match version {
            Version::V2 => (second, Duration::from_secs(255)),
            Version::V3 => (CENTISECOND, CENTISECOND * 4095),
        };
        let read = seconds(first(item), 255).and_then(|time| {
            let size = if time > longest { "long" } else { "short" };
            let bad = Bad::new(format!("{} is too {size}", said(time)));
            if time < CENTISECOND || time > longest { Err(bad) } else { Ok(time) }
        });
        let time = match read {
            Ok(time) => time,
            Err(mut bad) => {
                let range = match version {
                    Version::V2 => "version 2 takes whole seconds from 1 to 255",
                    Version::V3 => "version 3 takes 0.01 to 40.95 seconds",
                };
                bad.hint = bad.hint.filter(|hint| !hint.starts_with("write a number from"));
                bad.hint.get_or_insert_with(|| range.to_owned());
                let now = format!("{} advertises every 1 s", shown(&self.name));
                self.ctx.push(bad_value(item, bad).now(now));
                return Interval::DEFAULT;
            }
        };
        let steps = (time + step / 2).as_nanos() / step.as_nanos();
        let rounded = step * u32::try_from(steps.max(1)).unwrap_or(1);
        if rounded != time {
            let word = first(item);
            let message = format!("version {version} can't say {} in an advert", said(time));
            let diag = Diag::warning(Code::Changed, word.span.clone(), message);
            let diag =
                diag.now(format!("{} advertises every {}", shown(&self.name), said(rounded)));
            let hint = match version {
                Version::V2 => {
                    "version 2 has whole seconds: `version 3` on all peers takes 10 ms steps"
                }
                Version::V3 => "version 3 has steps of 0.01 s",
            };
            self.ctx.push(diag.hint(hint));
        }
        // Between a step and the longest, which is less than what an interval may be.
        Interval::new(rounded).unwrap_or(Interval::DEFAULT)
    }

    /// `state` and `priority`. MASTER without a priority is the owner's 255, as in keepalived.
    fn rank(&mut self, draft: &Draft<'_>) -> (bool, Priority) {
        let master = draft.master.clone().filter(|(master, _)| *master);
        match (&draft.priority, master) {
            (None, Some((_, span))) => {
                let message = "`state MASTER` without a `priority`";
                let diag = Diag::warning(Code::Missing, span, message);
                let now = "the priority is 255, the address owner's, as in keepalived";
                self.ctx.push(diag.now(now).hint("write the priority that is meant, 100 say"));
                (true, Priority::OWNER)
            }
            (None, None) => (false, Priority::DEFAULT),
            (Some((priority, _)), master) => (master.is_some(), *priority),
        }
    }

    /// `nopreempt` and `preempt_delay` need a router that starts as BACKUP, as in keepalived.
    fn preemption(&mut self, draft: &mut Draft<'_>, master: bool, priority: Priority) -> bool {
        let why = if master {
            "`state MASTER`"
        } else if priority.is_owner() {
            "priority 255"
        } else {
            return draft.nopreempt.is_none();
        };
        let nopreempt = draft.nopreempt.take().map(|span| (span, "nopreempt"));
        let delay = draft.preempt_delay.take().filter(|(delay, _)| !delay.is_zero());
        let delay = delay.map(|(_, span)| (span, "preempt_delay"));
        for (span, word) in nopreempt.into_iter().chain(delay) {
            let message = format!("`{word}` does not go with {why}");
            let diag = Diag::warning(Code::Conflict, span, message);
            let now = format!(
                "`{word}` is dropped, as in keepalived: it takes the addresses back at once"
            );
            self.ctx.push(
                diag.now(now).hint("write `state BACKUP` on all routers; the priority decides"),
            );
        }
        true
    }

    fn tracks(
        &mut self,
        draft: &mut Draft<'_>,
        priority: Priority,
    ) -> (Vec<super::super::model::Tracked>, Vec<super::super::model::Tracked>) {
        let (mut scripts, mut interfaces) = (Vec::new(), Vec::new());
        for item in std::mem::take(&mut draft.track_scripts) {
            let (tracked, lost) = track::scripts(self.ctx, &item, self.scripts, &self.lost);
            scripts.extend(tracked);
            draft.refusals.extend(lost);
        }
        for item in std::mem::take(&mut draft.track_interfaces) {
            let (tracked, lost) = track::interfaces(self.ctx, &item, &self.lost);
            interfaces.extend(tracked);
            draft.refusals.extend(lost);
        }
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

/// From a block's keyword to its end.
fn block_span(item: &Item<'_>) -> Span {
    let last = item.statements().last().map_or(item.key.span.end, |line| line.head().end);
    item.key.span.start..last
}
