//! What a `vrrp_instance` block says, statement by statement.

use std::net::IpAddr;
use std::time::Duration;

use vrrp_common::{Priority, Version, Vrid};

use super::super::ast::Word;
use super::super::diag::{Code, Diag};
use super::super::model::{Notify, Span};
use super::super::suggest::shown;
use super::super::value::{Bad, integer, interface, seconds};
use super::garp::Garp;
use super::global::version;
use super::items::{Item, bad_value, first, first_counts, set, set_first};
use super::options::Options;
use super::strict::Places;
use super::{Ctx, Refusal, address, notify, unicast};

/// What the kernel calls the loopback interface of every network namespace.
const LOOPBACK: &str = "lo";

/// A word of the file with its place, where it was written.
type Said<T> = Option<(T, Span)>;

/// What a block says so far.
pub(super) struct Draft<'a> {
    pub(super) master: Said<bool>,
    pub(super) interface: Said<String>,
    pub(super) vrid: Said<Vrid>,
    pub(super) priority: Said<Priority>,
    pub(super) advert_int: Said<Item<'a>>,
    pub(super) version: Said<Version>,
    pub(super) nopreempt: Option<Span>,
    pub(super) preempt_delay: Said<Duration>,
    /// `mcast_src_ip` or `unicast_src_ip`, the last of which counts.
    pub(super) source: Said<IpAddr>,
    pub(super) group: Said<IpAddr>,
    pub(super) peers: Vec<Item<'a>>,
    pub(super) unicast_ttl: Said<u8>,
    /// A peer has a `min_ttl` or `max_ttl`.
    pub(super) ttl_bounds: bool,
    pub(super) fault_no_peer: bool,
    pub(super) vrf: Said<String>,
    pub(super) vmac: Said<Item<'a>>,
    pub(super) ipvlan: Said<Item<'a>>,
    /// `accept` or `no_accept`, the last of which counts.
    pub(super) accept: Option<bool>,
    pub(super) timer_expired: Said<Priority>,
    pub(super) authentication: Vec<Item<'a>>,
    pub(super) addresses: Vec<Item<'a>>,
    pub(super) excluded: Vec<Item<'a>>,
    pub(super) routes: Vec<Item<'a>>,
    pub(super) rules: Vec<Item<'a>>,
    pub(super) track_scripts: Vec<Item<'a>>,
    pub(super) track_interfaces: Vec<Item<'a>>,
    pub(super) garp: Garp,
    pub(super) options: Options,
    pub(super) notify: Notify,
    /// Where each of its keywords is written first.
    pub(super) places: Places,
    /// Where addresses are missing, if there are none.
    pub(super) nobody: Option<Span>,
    pub(super) refusals: Vec<Refusal>,
}

impl<'a> Draft<'a> {
    /// An empty block.
    pub(super) fn new() -> Self {
        Self {
            master: None,
            interface: None,
            vrid: None,
            priority: None,
            advert_int: None,
            version: None,
            nopreempt: None,
            preempt_delay: None,
            source: None,
            group: None,
            peers: Vec::new(),
            unicast_ttl: None,
            ttl_bounds: false,
            fault_no_peer: false,
            vrf: None,
            vmac: None,
            ipvlan: None,
            accept: None,
            timer_expired: None,
            authentication: Vec::new(),
            addresses: Vec::new(),
            excluded: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            track_scripts: Vec::new(),
            track_interfaces: Vec::new(),
            garp: Garp::default(),
            options: Options::default(),
            notify: Notify::default(),
            places: Places::new(),
            nobody: None,
            refusals: Vec::new(),
        }
    }

    /// Takes one statement.
    pub(super) fn take(&mut self, ctx: &mut Ctx, item: &Item<'a>, lost: &str) {
        self.places.entry(item.known.name).or_insert_with(|| item.head());
        let notify = &mut self.notify;
        if self.garp.take(ctx, item)
            || notify::take(ctx, notify, &self.places, item)
            || self.block(item)
        {
            return;
        }
        let taken = match self.options.take(ctx, item) {
            Ok(true) => return,
            Ok(false) => self.identity(ctx, item).and_then(|()| self.way(ctx, item)),
            Err(bad) => Err(bad),
        };
        if let Err(bad) = taken {
            self.refusals.push(ctx.lose(bad_value(item, bad).now(lost)));
        }
    }

    /// What an instance is: a bad value here is never replaced.
    fn identity(&mut self, ctx: &mut Ctx, item: &Item<'a>) -> Result<(), Bad> {
        let word = first(item);
        match item.known.name {
            "state" => self.state(ctx, item),
            "interface" => set(ctx, &mut self.interface, link(word)?, item),
            "virtual_router_id" => {
                let number = integer(word, 1..=255)?;
                let vrid = u8::try_from(number).ok().and_then(Vrid::new);
                let vrid = vrid.ok_or_else(|| Bad::new("there is no such VRID"))?;
                set(ctx, &mut self.vrid, vrid, item);
            }
            "priority" => set(ctx, &mut self.priority, priority(word)?, item),
            "version" => set_first(ctx, &mut self.version, version(item)?, item),
            "preempt_delay" => set(ctx, &mut self.preempt_delay, seconds(word, 1000)?, item),
            "advert_int" => set(ctx, &mut self.advert_int, *item, item),
            "nopreempt" => self.nopreempt = Some(item.head()),
            "preempt" => self.nopreempt = None,
            "accept" => self.accept = Some(true),
            "no_accept" => self.accept = Some(false),
            "timer_expired_backup" | "thread_timer_expired" => self.timer_expired(ctx, item),
            _ => {}
        }
        Ok(())
    }

    /// The way of its adverts: from where, to where, by which interface.
    fn way(&mut self, ctx: &mut Ctx, item: &Item<'a>) -> Result<(), Bad> {
        let word = first(item);
        match item.known.name {
            "mcast_src_ip" | "unicast_src_ip" => {
                let source = address::host(ctx, word)?;
                set(ctx, &mut self.source, source, item);
            }
            "mcast_dst_ip" => set(ctx, &mut self.group, unicast::group(word)?, item),
            "unicast_ttl" => set(ctx, &mut self.unicast_ttl, unicast::ttl(word)?, item),
            "unicast_fault_no_peer" => self.fault_no_peer = true,
            "vrf" => set(ctx, &mut self.vrf, interface(word)?, item),
            "use_vmac" => set_first(ctx, &mut self.vmac, *item, item),
            "use_ipvlan" => set_first(ctx, &mut self.ipvlan, *item, item),
            _ => {}
        }
        Ok(())
    }

    fn timer_expired(&mut self, ctx: &mut Ctx, item: &Item<'a>) {
        const ASSUMED: u8 = 254;
        let number =
            item.args.first().map_or(Ok(i64::from(ASSUMED)), |word| integer(word, 1..=254));
        match number.map(u8::try_from) {
            Ok(number) => {
                let priority = Priority::new(number.unwrap_or(ASSUMED));
                set(ctx, &mut self.timer_expired, priority, item);
            }
            Err(bad) => ctx.push(bad_value(item, bad).now("the line is ignored")),
        }
    }

    /// `state`: the first one counts, and what is not MASTER is BACKUP, both as in keepalived.
    fn state(&mut self, ctx: &mut Ctx, item: &Item<'a>) {
        let word = first(item);
        if let Some((_, before)) = &self.master {
            ctx.push(first_counts(item, before.clone()));
            return;
        }
        let master = match word.text.as_str() {
            "MASTER" => true,
            "BACKUP" => false,
            other => {
                let hint = match other.to_ascii_uppercase().as_str() {
                    "MASTER" | "ACTIVE" | "PRIMARY" | "LEADER" => "write `MASTER`, in capitals",
                    "BACKUP" | "SLAVE" | "STANDBY" | "SECONDARY" => "write `BACKUP`, in capitals",
                    _ => "write `MASTER` or `BACKUP`, or leave it out: the priority decides",
                };
                let message = format!("`{}` is no state", shown(other));
                let diag = Diag::warning(Code::BadValue, word.span.clone(), message);
                ctx.push(diag.now("it starts as BACKUP, as in keepalived").hint(hint));
                false
            }
        };
        self.master = Some((master, item.head()));
    }

    fn block(&mut self, item: &Item<'a>) -> bool {
        match item.known.name {
            "authentication" => self.authentication.push(*item),
            "virtual_ipaddress" => self.addresses.push(*item),
            "virtual_ipaddress_excluded" => self.excluded.push(*item),
            "virtual_routes" => self.routes.push(*item),
            "virtual_rules" => self.rules.push(*item),
            "unicast_peer" => self.peers.push(*item),
            "track_script" => self.track_scripts.push(*item),
            "track_interface" => self.track_interfaces.push(*item),
            _ => return false,
        }
        true
    }
}

/// An interface that has a link with other routers on it.
fn link(word: &Word) -> Result<String, Bad> {
    let name = interface(word)?;
    if name == LOOPBACK {
        let bad = Bad::new(format!("`{LOOPBACK}` is the loopback, which carries no VRRP"));
        return Err(bad.hint(format!(
            "write the link to the other routers; an address can still be on it: `ADDRESS dev {LOOPBACK}`"
        )));
    }
    Ok(name)
}

fn priority(word: &Word) -> Result<Priority, Bad> {
    if integer(word, 0..=0).is_ok() {
        return Err(Bad::new("0 is what a router sends when it gives up the addresses")
            .hint("write a number from 1 to 254, or 255 for the owner of the addresses"));
    }
    let number = integer(word, 1..=255)?;
    u8::try_from(number).map(Priority::new).map_err(|_| Bad::new("there is no such priority"))
}
