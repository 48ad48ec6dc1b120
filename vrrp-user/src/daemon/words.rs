//! What happens, in the words that people grep for: keepalived's, and the reason.

use vrrp_proto::{Event, Slot, StateName, TrackerId, VirtualAddress, Why};

use crate::text::{some_of, span};

/// The state as keepalived calls it.
pub(crate) const fn state(state: StateName) -> &'static str {
    match state {
        StateName::Initialize => "INIT",
        StateName::Backup => "BACKUP",
        StateName::Active => "MASTER",
        StateName::Fault => "FAULT",
    }
}

/// What the engine has no words for.
pub(crate) struct Names<'a> {
    /// The name of something that is watched.
    pub(crate) tracker: &'a dyn Fn(TrackerId) -> String,
    /// What is wrong with something that is watched.
    pub(crate) failed: &'a dyn Fn(TrackerId) -> String,
    /// Another instance of the same sync group.
    pub(crate) member: &'a dyn Fn(Slot) -> String,
    /// Why there is no address to send from, where more is known of it.
    pub(crate) no_source: Option<String>,
    /// Why an interface that is made for it is not there, where that is known.
    pub(crate) no_device: Option<&'a str>,
    /// Who serves the virtual router on this host, where that is known.
    pub(crate) served_by: Option<String>,
    /// An address that was put back had gone because its lease could not be renewed.
    pub(crate) lease_ended: bool,
}

/// Why a router changed its state.
pub(crate) fn why(why: &Why, names: &Names<'_>) -> String {
    let tracker = names.tracker;
    match why {
        Why::Startup => "start".to_owned(),
        Why::Owner => "priority 255 owns the addresses".to_owned(),
        Why::NoAdvert { from: Some(from), silence } => {
            format!("no advert from {from} for {}", span(*silence))
        }
        Why::NoAdvert { from: None, silence } => {
            format!("no advert from anybody for {}", span(*silence))
        }
        Why::Released { from } => format!("{from} released with priority 0"),
        Why::Preempting { from, theirs, ours } => {
            format!("{from} has the lower priority {theirs}, ours is {ours}")
        }
        Why::HigherPriority { from, theirs, ours } => {
            format!("advert from {from} with higher priority {theirs}, ours is {ours}")
        }
        Why::HigherAddress { from, priority } => {
            format!("advert from {from} with the same priority {priority} and a higher address")
        }
        Why::SecondOwner { from } => {
            format!("{from} has priority 255 too and goes on although our address is higher")
        }
        Why::Overslept { silence } => {
            format!("nothing was sent for {}, so a peer has taken over", span(*silence))
        }
        Why::LinkDown => "the interface is down or not there".to_owned(),
        Why::NoSource => {
            let usual = || "the interface has no address to send from".to_owned();
            names.no_source.clone().unwrap_or_else(usual)
        }
        Why::NoDevice => {
            let usual = "an interface of its addresses is not there".to_owned();
            names.no_device.map_or(usual.clone(), |why| format!("{usual}: {why}"))
        }
        Why::NoPeer => "`unicast_peer` names nobody but this host".to_owned(),
        Why::Deaf => "adverts can't be received on the interface".to_owned(),
        Why::Mute { alone: false } => {
            "no advert could be sent for so long that other routers have taken over".to_owned()
        }
        Why::Mute { alone: true } => {
            "no advert can be sent, and no other router was heard meanwhile".to_owned()
        }
        Why::Trying => "trying whether adverts can be sent again".to_owned(),
        Why::Taken => {
            let who = names.served_by.as_deref().unwrap_or("another xvrrp");
            format!("{who} on this host serves this VRID on the interface")
        }
        Why::Tracker(id) => (names.failed)(*id),
        Why::Undecided(id) => format!("waiting for the first result of {}", tracker(*id)),
        Why::Member(slot) => format!("with {}", (names.member)(*slot)),
        Why::AddressRefused => "the kernel refused an address".to_owned(),
        Why::Resumed => "was MASTER before it was started anew".to_owned(),
        Why::Recovered => "nothing is in the way any more".to_owned(),
        Why::Shutdown => "stopped".to_owned(),
        Why::Removed => "removed by reload".to_owned(),
    }
}

/// The log lines of an event of the instance called `name`; what is repeated each second is left to
/// [`super::repeats`].
pub(crate) fn lines(name: &str, event: &Event, names: &Names<'_>) -> Vec<String> {
    match event {
        Event::Transition { from, to, why: reason, .. } => {
            transition(name, *from, *to, reason, &why(reason, names))
        }
        Event::PriorityChanged { from, to, .. } => {
            vec![format!("({name}) Changing effective priority from {from} to {to}")]
        }
        Event::LowerAdvert { from, theirs, ours, .. } => vec![format!(
            "({name}) Received advert from {from} with lower priority {theirs}, ours {ours}, forcing new election"
        )],
        Event::SecondOwner { from, .. } => vec![format!(
            "({name}) CONFIGURATION ERROR: {from} has priority 255 too; only one router owns the addresses"
        )],
        Event::Ignored { from, theirs, .. } => vec![format!(
            "({name}) Dropping advert from {from} with priority {theirs}: owner_ignore_adverts, and we are address owner"
        )],
        Event::Following { from, priority, interval, ours, .. } => {
            let other = if interval == ours {
                String::new()
            } else {
                format!("; ours is {}: set `advert_int` alike on all routers", span(ours.get()))
            };
            vec![format!(
                "({name}) following MASTER {from}, priority {priority}, one advert each {}{other}",
                span(interval.get())
            )]
        }
        Event::PriorityZero { from, .. } => {
            vec![format!("({name}) Backup received priority 0 advertisement from {from}")]
        }
        Event::PreemptDelayed { from, theirs, delay, .. } => vec![format!(
            "({name}) MASTER {from} has the lower priority {theirs}; leaving it in place for preempt_delay {}",
            span(*delay)
        )],
        Event::AddressesRestored { addresses, .. } => {
            vec![format!("({name}) {}", restored(addresses, names.lease_ended))]
        }
        Event::AddressFailed { address, error, .. } => vec![format!(
            "({name}) address {}/{} can't be put on {}: {error}",
            address.ip, address.prefix, address.device
        )],
        Event::PathsRestored { paths, .. } => {
            let (was, is) = if paths.len() == 1 { ("was", "is") } else { ("were", "are") };
            vec![format!("({name}) {} {was} missing, and {is} set now", some_of(paths))]
        }
        Event::PathsFailed { failed, .. } => unset(name, failed),
        // Needs the instance: see `unsent`.
        Event::GoesOn { .. } => Vec::new(),
        // Of a group, of a takeover and of its end others tell.
        Event::Group { .. } | Event::TookOver { .. } | Event::Ended { .. } => Vec::new(),
    }
}

/// Routes and rules that could not be set: one line for all that have one reason.
fn unset(name: &str, failed: &[(String, String)]) -> Vec<String> {
    let mut by: Vec<(&str, Vec<String>)> = Vec::new();
    for (path, error) in failed {
        match by.iter_mut().find(|(known, _)| known == error) {
            Some((_, paths)) => paths.push(path.clone()),
            None => by.push((error, vec![path.clone()])),
        }
    }
    by.iter().map(|(why, all)| format!("({name}) {} can't be set: {why}", some_of(all))).collect()
}

/// That an address is announced, in keepalived's words for who asked it for details.
pub(crate) fn announcing(name: &str, held: &VirtualAddress) -> String {
    let what = if held.ip.is_ipv4() { "gratuitous ARPs" } else { "Unsolicited Neighbour Adverts" };
    format!("({name}) Sending/queueing {what} on {} for {}", held.device, held.ip)
}

/// That addresses are put back, and why they had gone.
fn restored(addresses: &[VirtualAddress], lease_ended: bool) -> String {
    let each = addresses.iter().map(|VirtualAddress { ip, prefix, device, .. }| {
        let verb = if lease_ended { "is gone" } else { "was removed" };
        format!("address {ip}/{prefix} {verb} from {device}")
    });
    let each = each.collect::<Vec<_>>().join(", ");
    let why = if lease_ended {
        ": its lease ran out while xvrrp stood still"
    } else {
        " by somebody else"
    };
    format!("{each}{why}; putting it back")
}

fn transition(
    name: &str,
    from: StateName,
    to: StateName,
    reason: &Why,
    because: &str,
) -> Vec<String> {
    let mut lines = Vec::new();
    match reason {
        // Whatever it was that let the time run out.
        Why::NoAdvert { .. } | Why::Released { .. } | Why::Preempting { .. } => {
            lines.push(format!("({name}) Receive advertisement timeout"));
        }
        Why::HigherPriority { from, theirs, ours } => lines.push(format!(
            "({name}) Master received advert from {from} with higher priority {theirs}, ours {ours}"
        )),
        Why::HigherAddress { from, priority } => lines.push(format!(
            "({name}) Master received advert from {from} with same priority {priority} but higher IP address than ours"
        )),
        Why::Startup
        | Why::Owner
        | Why::SecondOwner { .. }
        | Why::Overslept { .. }
        | Why::LinkDown
        | Why::NoSource
        | Why::NoDevice
        | Why::NoPeer
        | Why::Deaf
        | Why::Mute { .. }
        | Why::Trying
        | Why::Taken
        | Why::Tracker(_)
        | Why::Undecided(_)
        | Why::AddressRefused
        | Why::Member(_)
        | Why::Resumed
        | Why::Recovered
        | Why::Shutdown
        | Why::Removed => {}
    }
    match (from, to) {
        (_, StateName::Active) => {
            lines.push(format!("({name}) Entering MASTER STATE: {because}"));
            lines.push(format!("({name}) setting VIPs."));
        }
        (StateName::Initialize, StateName::Backup) => {
            lines.push(format!("({name}) Entering BACKUP STATE (init)"));
        }
        (_, StateName::Backup) => lines.push(format!("({name}) Entering BACKUP STATE: {because}")),
        (_, StateName::Fault) => lines.push(format!("({name}) Entering FAULT STATE: {because}")),
        (StateName::Active, StateName::Initialize) => {
            lines.push(format!("({name}) sent 0 priority"));
        }
        (_, StateName::Initialize) => {}
    }
    if from == StateName::Active && to != StateName::Active {
        lines.push(format!("({name}) removing VIPs."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use vrrp_common::{Interval, Priority};

    fn names(no_source: Option<&str>) -> Names<'static> {
        let tracker = &|id: TrackerId| format!("script {}", id.0);
        let failed = &|id: TrackerId| format!("script {} failed", id.0);
        let no_source = no_source.map(str::to_owned);
        let member = &|slot: Slot| format!("VI_{} of sync group G", slot.0);
        let no_device = None;
        Names { tracker, failed, member, no_source, no_device, served_by: None, lease_ended: false }
    }

    #[test]
    fn states_have_keepalived_s_names() {
        let all = [StateName::Initialize, StateName::Backup, StateName::Active, StateName::Fault];
        assert_eq!(all.map(state), ["INIT", "BACKUP", "MASTER", "FAULT"]);
    }

    #[test]
    fn who_serves_it_is_named_where_that_is_known() {
        let known = Names { served_by: Some("keepalived".to_owned()), ..names(None) };
        let serves = "on this host serves this VRID on the interface";
        assert_eq!(why(&Why::Taken, &known), format!("keepalived {serves}"));
        assert_eq!(why(&Why::Taken, &names(None)), format!("another xvrrp {serves}"));
    }

    #[test]
    fn why_an_interface_is_not_there_is_said() {
        let known = Names { no_device: Some("this kernel has no ipvlan"), ..names(None) };
        let usual = "an interface of its addresses is not there";
        assert_eq!(why(&Why::NoDevice, &names(None)), usual);
        assert_eq!(why(&Why::NoDevice, &known), format!("{usual}: this kernel has no ipvlan"));
    }

    #[test]
    fn what_is_known_of_the_source_is_said() {
        let usual = "the interface has no address to send from";
        assert_eq!(why(&Why::NoSource, &names(None)), usual);
        let known = "no interface has 192.0.2.11";
        assert_eq!(why(&Why::NoSource, &names(Some(known))), known);
    }

    fn told(from: StateName, to: StateName, why: Why) -> Vec<String> {
        let priority = Priority::DEFAULT;
        let event = Event::Transition { slot: Slot(0), from, to, why, priority };
        lines("VI_1", &event, &names(None))
    }

    #[test]
    fn what_is_put_back_is_one_line() {
        let address = |ip: &str| VirtualAddress::new(ip.parse().unwrap(), 24, "eth0");
        let all = [address("192.0.2.250"), address("192.0.2.251")];
        let first = "address 192.0.2.250/24 was removed from eth0";
        assert_eq!(
            restored(&all, false),
            format!(
                "{first}, address 192.0.2.251/24 was removed from eth0 by somebody else; putting it back"
            )
        );
        assert_eq!(
            restored(&all[..1], true),
            "address 192.0.2.250/24 is gone from eth0: its lease ran out while xvrrp stood still; \
             putting it back"
        );
    }

    #[test]
    fn takeover_says_who_was_silent_for_how_long() {
        let why = Why::NoAdvert {
            from: Some("192.0.2.11".parse().unwrap()),
            silence: Duration::from_nanos(3_609_400_000),
        };
        assert_eq!(
            told(StateName::Backup, StateName::Active, why),
            [
                "(VI_1) Receive advertisement timeout",
                "(VI_1) Entering MASTER STATE: no advert from 192.0.2.11 for 3.609 s",
                "(VI_1) setting VIPs."
            ]
        );
    }

    #[test]
    fn each_takeover_by_the_timer_says_so() {
        let from = "192.0.2.11".parse().unwrap();
        let (theirs, ours) = (Priority::new(90), Priority::new(100));
        let timeout = "(VI_1) Receive advertisement timeout";
        for why in [Why::Released { from }, Why::Preempting { from, theirs, ours }] {
            let lines = told(StateName::Backup, StateName::Active, why);
            assert_eq!((lines.len(), lines[0].as_str()), (3, timeout));
        }
        for why in [Why::Owner, Why::Resumed] {
            let lines = told(StateName::Initialize, StateName::Active, why);
            assert!(lines.iter().all(|line| line != timeout), "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_set_for_one_reason_is_in_one_line() {
        let route = |last: u32| format!("route 198.51.100.{last}");
        let mut failed: Vec<_> = (0..10).map(|last| (route(last), "no way".to_owned())).collect();
        failed.insert(1, ("rule".to_owned(), "no table".to_owned()));
        let said = lines("VI_1", &Event::PathsFailed { slot: Slot(0), failed }, &names(None));
        let eight = (0..8).map(route).collect::<Vec<_>>().join(", ");
        let first = format!("(VI_1) {eight} and 2 more can't be set: no way");
        assert_eq!(said, [first.as_str(), "(VI_1) rule can't be set: no table"]);
    }

    /// RFC 9568 §7.1: another interval is accepted, and said.
    #[test]
    fn another_interval_than_ours_is_said() {
        let ours = Interval::DEFAULT;
        let said = |interval: Duration| {
            let event = Event::Following {
                slot: Slot(0),
                from: "192.0.2.12".parse().unwrap(),
                priority: Priority::new(200),
                interval: Interval::new(interval).unwrap(),
                ours,
            };
            lines("VI_1", &event, &names(None))
        };
        assert_eq!(
            said(ours.get()),
            ["(VI_1) following MASTER 192.0.2.12, priority 200, one advert each 1.000 s"]
        );
        let other = said(Duration::from_millis(100));
        let end =
            "one advert each 100.0 ms; ours is 1.000 s: set `advert_int` alike on all routers";
        assert!(other[0].ends_with(end), "{other:?}");
    }

    #[test]
    fn stepping_down_keeps_the_words() {
        let why = Why::HigherPriority {
            from: "192.0.2.12".parse().unwrap(),
            theirs: Priority::new(200),
            ours: Priority::new(100),
        };
        assert_eq!(
            told(StateName::Active, StateName::Backup, why),
            [
                "(VI_1) Master received advert from 192.0.2.12 with higher priority 200, ours 100",
                "(VI_1) Entering BACKUP STATE: advert from 192.0.2.12 with higher priority 200, ours is 100",
                "(VI_1) removing VIPs."
            ]
        );
        assert_eq!(
            told(StateName::Backup, StateName::Fault, Why::Member(Slot(2))),
            ["(VI_1) Entering FAULT STATE: with VI_2 of sync group G"]
        );
        assert_eq!(
            told(StateName::Backup, StateName::Fault, Why::Tracker(TrackerId(7))),
            ["(VI_1) Entering FAULT STATE: script 7 failed"]
        );
    }
}
