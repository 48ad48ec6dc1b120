//! Rules as the kernel is told of them.

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::RouteHeader;
use rtnetlink::packet_route::rule::{
    RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange, RuleUidRange,
};
use vrrp_proto::paths::{Action, Network, Rule};

use super::{address_family, realm};

/// The flags of a request that puts a rule on: without the second one the kernel would have it twice.
pub(in crate::net::paths) const RULE_FLAGS: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// A rule: as it is put on, and as it is taken off.
pub(in crate::net::paths) fn rule(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let length = |network: Option<Network>| network.map_or(0, |network| network.length);
    message.header.family = address_family(rule.family);
    message.header.src_len = length(rule.from);
    message.header.dst_len = length(rule.to);
    message.header.tos = rule.tos;
    if rule.not {
        message.header.flags = RuleFlags::Invert;
    }
    let all = &mut message.attributes;
    all.push(RuleAttribute::Priority(rule.preference));
    all.push(RuleAttribute::Protocol(rule.protocol.into()));
    message.header.action = match rule.action {
        Action::Table(table) => {
            message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
            all.push(RuleAttribute::Table(table));
            RuleAction::ToTable
        }
        Action::L3mdev => {
            all.push(RuleAttribute::L3MDev(true));
            RuleAction::ToTable
        }
        Action::Goto(preference) => {
            all.push(RuleAttribute::Goto(preference));
            RuleAction::Goto
        }
        Action::Nop => RuleAction::Nop,
        Action::Blackhole => RuleAction::Blackhole,
        Action::Unreachable => RuleAction::Unreachable,
        Action::Prohibit => RuleAction::Prohibit,
    };
    all.extend(rule.from.map(|network| RuleAttribute::Source(network.ip)));
    all.extend(rule.to.map(|network| RuleAttribute::Destination(network.ip)));
    all.extend(matches(rule));
    all.extend(rule.realms.map(|realms| RuleAttribute::Realm(realm(realms))));
    all.extend(rule.suppress_length.map(RuleAttribute::SuppressPrefixLen));
    all.extend(rule.suppress_group.map(RuleAttribute::SuppressIfGroup));
    message
}

/// Which packets it is about, but for where they come from and go to.
fn matches(rule: &Rule) -> impl Iterator<Item = RuleAttribute> {
    let ports = |(start, end)| RulePortRange { start, end };
    let all = [
        rule.mark.map(|mark| RuleAttribute::FwMark(mark.value)),
        rule.mark.and_then(|mark| mark.mask).map(RuleAttribute::FwMask),
        rule.input.clone().map(RuleAttribute::Iifname),
        rule.output.clone().map(RuleAttribute::Oifname),
        rule.tunnel.map(RuleAttribute::TunId),
        rule.users.map(|(start, end)| RuleAttribute::UidRange(RuleUidRange { start, end })),
        rule.ip_protocol.map(|number| RuleAttribute::IpProtocol(number.into())),
        rule.source_ports.map(|range| RuleAttribute::SourcePortRange(ports(range))),
        rule.destination_ports.map(|range| RuleAttribute::DestinationPortRange(ports(range))),
    ];
    all.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::AddressFamily;
    use rtnetlink::packet_route::route::{RouteProtocol, RouteRealm};
    use std::net::IpAddr;
    use vrrp_common::Family;
    use vrrp_proto::paths::{Mark, Realms};

    fn network(ip: &str, length: u8) -> Network {
        Network { ip: ip.parse().unwrap(), length }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_for_an_address() {
        let written = Rule::new(network("192.0.2.250", 32), 1000, Action::Table(100));
        let message = rule(&written);
        assert_eq!(message.header.family, AddressFamily::Inet);
        assert_eq!((message.header.src_len, message.header.dst_len), (32, 0));
        assert_eq!((message.header.table, message.header.action), (100, RuleAction::ToTable));
        let right = [
            RuleAttribute::Priority(1000),
            RuleAttribute::Protocol(RouteProtocol::KeepAlived),
            RuleAttribute::Table(100),
            RuleAttribute::Source(ip("192.0.2.250")),
        ];
        assert_eq!(message.attributes, right);
    }

    #[test]
    fn everything_that_can_be_said_of_a_rule() {
        let written = Rule {
            not: true,
            to: Some(network("2001:db8::", 32)),
            tos: 0x10,
            mark: Some(Mark { value: 24, mask: Some(12) }),
            suppress_length: Some(1),
            suppress_group: Some(7),
            input: Some("eth0".to_owned()),
            output: Some("eth1".to_owned()),
            tunnel: Some(5),
            users: Some((1, 2)),
            ip_protocol: Some(17),
            source_ports: Some((53, 54)),
            destination_ports: Some((1, 9)),
            protocol: 12,
            realms: Some(Realms { from: 1, to: 2 }),
            ..Rule::new(Network::all(Family::V6), 7, Action::Table(6908))
        };
        let message = rule(&written);
        assert_eq!(message.header.family, AddressFamily::Inet6);
        assert_eq!((message.header.src_len, message.header.dst_len), (0, 32));
        assert_eq!((message.header.table, message.header.tos), (0, 0x10));
        assert_eq!(message.header.flags, RuleFlags::Invert);
        let right = [
            RuleAttribute::Priority(7),
            RuleAttribute::Protocol(RouteProtocol::Bird),
            RuleAttribute::Table(6908),
            RuleAttribute::Destination(ip("2001:db8::")),
            RuleAttribute::FwMark(24),
            RuleAttribute::FwMask(12),
            RuleAttribute::Iifname("eth0".to_owned()),
            RuleAttribute::Oifname("eth1".to_owned()),
            RuleAttribute::TunId(5),
            RuleAttribute::UidRange(RuleUidRange { start: 1, end: 2 }),
            RuleAttribute::IpProtocol(17_u8.into()),
            RuleAttribute::SourcePortRange(RulePortRange { start: 53, end: 54 }),
            RuleAttribute::DestinationPortRange(RulePortRange { start: 1, end: 9 }),
            RuleAttribute::Realm(RouteRealm { source: 1, destination: 2 }),
            RuleAttribute::SuppressPrefixLen(1),
            RuleAttribute::SuppressIfGroup(7),
        ];
        assert_eq!(message.attributes, right);
    }

    #[test]
    fn what_rules_do() {
        let action = |action| {
            let message = rule(&Rule::new(Network::all(Family::V4), 7, action));
            (message.header.action, message.attributes.get(2).cloned())
        };
        assert_eq!(action(Action::Goto(9)), (RuleAction::Goto, Some(RuleAttribute::Goto(9))));
        let l3mdev = (RuleAction::ToTable, Some(RuleAttribute::L3MDev(true)));
        assert_eq!(action(Action::L3mdev), l3mdev);
        assert_eq!(action(Action::Nop), (RuleAction::Nop, None));
        assert_eq!(action(Action::Blackhole), (RuleAction::Blackhole, None));
        assert_eq!(action(Action::Unreachable), (RuleAction::Unreachable, None));
        assert_eq!(action(Action::Prohibit), (RuleAction::Prohibit, None));
    }
}
