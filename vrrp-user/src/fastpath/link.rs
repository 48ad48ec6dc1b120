//! What the kernel says about an interface that a program is to be attached to.

use std::io;

use aya::programs::loaded_programs;
use nix::sys::socket::MsgFlags;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, VlanProtocol,
};
use rtnetlink::sys::{Socket, SocketAddr, constants::NETLINK_ROUTE};

use super::sys;

mod below;

/// Names the XDP program that is on an interface.
pub(super) fn occupant(ifindex: u32) -> String {
    let id = program_id(ifindex);
    let name = id.and_then(|id| {
        let info = loaded_programs().filter_map(Result::ok).find(|info| info.id() == id)?;
        info.name_as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    });
    match (id, name) {
        (Some(id), Some(name)) => {
            format!("another XDP program is on the interface: {name}, id {id}")
        }
        (Some(id), None) => format!("another XDP program is on the interface: id {id}"),
        (None, _) => "another XDP program is on the interface".to_owned(),
    }
}

/// Says why adverts on an interface must not be judged by a program in this mode, which would not see
/// VLAN tags, where that is so: those of VLANs would look like the interface's own. `seen_on_veth`: in
/// the driver of a veth the program sees them wherever they are.
///
/// # Errors
/// The kernel could not be asked.
pub(super) fn hides_tags(
    name: &str,
    ifindex: u32,
    mode: sys::Mode,
    seen_on_veth: bool,
) -> io::Result<Option<String>> {
    let tags = match kind(ifindex) {
        Ok(Some(InfoKind::Veth)) => on_veth(mode, seen_on_veth),
        Ok(kind) => tags(kind.as_ref()),
        // One that is gone has none, and no adverts either.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
        Err(error) => return Err(error),
    };
    let filtered = || {
        let links = ask(LinkMessage::default(), NLM_F_DUMP)?;
        below::is_filtered(&links, name, ifindex, sys::features)
    };
    hidden(name, tags, || sys::features(name), filtered, || vlans_on(ifindex))
}

/// Why tags are hidden on an interface. `features`: which it has switched on; `filtered`: whether all below
/// it has [`FILTER`]; `vlans`: those on it.
fn hidden(
    name: &str,
    tags: Tags,
    features: impl FnOnce() -> io::Result<Vec<String>>,
    filtered: impl FnOnce() -> io::Result<bool>,
    vlans: impl FnOnce() -> io::Result<Vec<Vlan>>,
) -> io::Result<Option<String>> {
    Ok(match tags {
        Tags::All => Some("frames of all VLANs come up to a bridge, without their tags".to_owned()),
        Tags::Removed => {
            if !filtered()? {
                return Ok(Some(unfiltered()));
            }
            vlans()?.first().map(|Vlan { name: vlan, .. }| {
                format!("VLAN tags are off before frames come up to it, and {vlan} is on it")
            })
        }
        Tags::Seen => None,
        Tags::Kept | Tags::Beside => {
            let features = features()?;
            let stripping = |(feature, _): &(&str, _)| features.iter().any(|on| on == feature);
            if ![CUSTOMER, SERVICE].iter().any(stripping) {
                return Ok(None);
            }
            if tags == Tags::Beside {
                return Ok(Some(beside(name)));
            }
            vlans()?.into_iter().find_map(|Vlan { name: vlan, stripped_by }| {
                let (_, switch) = stripped_by.iter().copied().find(stripping)?;
                Some(format!(
                    "the interface takes VLAN tags off before XDP sees them, and {vlan} is on it: \
                     `ethtool -K {name} {switch} off` would let XDP be used"
                ))
            })
        }
    })
}

/// Why nothing is known of the VLAN of a frame that has come up from another interface.
fn unfiltered() -> String {
    format!(
        "VLAN tags are off before frames come up to it, and what is below has no {FILTER} on, which would \
         keep those of other VLANs away"
    )
}

/// Nothing tells what the other end of a veth does with tags; so whoever leaves them in the frame there
/// says it by the same switches here, which do nothing else.
fn beside(name: &str) -> String {
    let (_, customer) = CUSTOMER;
    let (_, service) = SERVICE;
    format!(
        "a veth has VLAN tags beside the frame, where generic XDP can't see them: `ethtool -K {name} \
         {customer} off {service} off` would let it be used, once the other end has txvlan and \
         tx-vlan-stag-hw-insert off"
    )
}

/// Takes the tags of one kind off in hardware: the kernel's name of the feature, and the word by which
/// `ethtool -K` switches it.
type Stripping = (&'static str, &'static str);

/// Of 802.1Q.
const CUSTOMER: Stripping = ("rx-vlan-hw-parse", "rxvlan");
/// Of 802.1ad.
const SERVICE: Stripping = ("rx-vlan-stag-hw-parse", "rx-vlan-stag-hw-parse");

/// Has hardware let no frames through of VLANs that are not on it: the kernel's name, and the word for
/// `ethtool -K`. A macvlan or ipvlan has it as what it is on has, also in another namespace; a bond or
/// team has it whatever is below, as what hands it down.
const FILTER: &str = "rx-vlan-filter";

/// A VLAN on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Vlan {
    name: String,
    /// What would take its tags off.
    stripped_by: &'static [Stripping],
}

/// What the kernel does to VLAN tags before XDP sees a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tags {
    /// Nothing; the hardware may take them off.
    Kept,
    /// The program sees them wherever they are.
    Seen,
    /// They are where it does not see them, whichever VLANs are on the interface.
    Beside,
    /// They are taken off at another interface, from which the frame comes up to this one. Hardware
    /// with [`FILTER`] lets none through of VLANs that are not on it; a veth lets all through.
    Removed,
    /// The same, and nothing keeps the frames of other VLANs away, whatever is switched on.
    All,
}

/// What that is for a veth. In the driver, and not seen there, they are taken for kept: containers would
/// have no XDP otherwise, and their networks hardly ever carry tags to them.
fn on_veth(mode: sys::Mode, seen: bool) -> Tags {
    match mode {
        sys::Mode::Native if seen => Tags::Seen,
        sys::Mode::Native => Tags::Kept,
        sys::Mode::Generic => Tags::Beside,
    }
}

/// What that is for another interface, of this kind. A VLAN keeps them: a second tag is still in its frames.
fn tags(kind: Option<&InfoKind>) -> Tags {
    match kind {
        Some(kind) if *kind == InfoKind::Bridge => Tags::All,
        Some(kind) if below::is_fed_by_others(kind) => Tags::Removed,
        // Like a veth, and without a program in its driver.
        Some(kind) if *kind == InfoKind::Netkit => Tags::Beside,
        Some(_) | None => Tags::Kept,
    }
}

/// Says why a program must not run in an interface's driver, where that is so.
///
/// A bond takes it and gives it to its slaves. There adverts carry the slaves' numbers, so that none
/// would be found to be for an instance; and those that the bond throws away, since they came to a
/// slave that is not the active one, would be heard.
pub(super) fn not_native(ifindex: u32) -> Option<&'static str> {
    (kind(ifindex).ok()?? == InfoKind::Bond).then_some("on a bond it would run on the slaves")
}

/// Whether an interface is an end of a veth.
///
/// # Errors
/// The kernel could not be asked.
pub(super) fn is_veth(ifindex: u32) -> io::Result<bool> {
    Ok(kind(ifindex)? == Some(InfoKind::Veth))
}

/// Says whether an interface is there, as far as the kernel answers.
pub(super) fn is_there(ifindex: u32) -> bool {
    attributes(ifindex).is_ok_and(|mut attributes| attributes.next().is_some())
}

/// The number of the XDP program on an interface.
pub(super) fn program_id(ifindex: u32) -> Option<u32> {
    attributes(ifindex)
        .ok()?
        .filter_map(
            |attribute| if let LinkAttribute::Xdp(xdp) = attribute { Some(xdp) } else { None },
        )
        .flatten()
        .find_map(|xdp| {
            if let LinkXdp::ProgId(id)
            | LinkXdp::DrvProgId(id)
            | LinkXdp::SkbProgId(id)
            | LinkXdp::HwProgId(id) = xdp
            {
                Some(id)
            } else {
                None
            }
        })
}

/// What the kernel tells of an interface.
fn attributes(ifindex: u32) -> io::Result<impl Iterator<Item = LinkAttribute>> {
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    let links = ask(request, 0)?;
    Ok(links.into_iter().flat_map(|link| link.attributes))
}

/// What an interface is, where it is no plain one.
fn kind(ifindex: u32) -> io::Result<Option<InfoKind>> {
    let mut request = LinkMessage::default();
    request.header.index = ifindex;
    Ok(ask(request, 0)?.iter().find_map(info_kind).cloned())
}

/// The same, as a link says it.
fn info_kind(link: &LinkMessage) -> Option<&InfoKind> {
    let infos = link.attributes.iter().filter_map(|attribute| {
        if let LinkAttribute::LinkInfo(infos) = attribute { Some(infos) } else { None }
    });
    infos.flatten().find_map(|info| if let LinkInfo::Kind(kind) = info { Some(kind) } else { None })
}

/// The VLANs on an interface.
fn vlans_on(ifindex: u32) -> io::Result<Vec<Vlan>> {
    let links = ask(LinkMessage::default(), NLM_F_DUMP)?;
    Ok(links.iter().filter_map(|link| vlan(link, ifindex)).collect())
}

/// A link as a VLAN on this interface, where it is one.
fn vlan(link: &LinkMessage, ifindex: u32) -> Option<Vlan> {
    let attributes = &link.attributes;
    let infos = attributes.iter().find_map(|attribute| {
        if let LinkAttribute::LinkInfo(infos) = attribute { Some(infos) } else { None }
    })?;
    if !attributes.contains(&LinkAttribute::Link(ifindex))
        || !infos.contains(&LinkInfo::Kind(InfoKind::Vlan))
    {
        return None;
    }
    let name = attributes.iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute { Some(name.clone()) } else { None }
    })?;
    let protocol = infos.iter().find_map(|info| {
        let LinkInfo::Data(InfoData::Vlan(data)) = info else { return None };
        data.iter().find_map(|datum| {
            if let InfoVlan::Protocol(protocol) = datum { Some(*protocol) } else { None }
        })
    });
    let stripped_by: &[Stripping] = match protocol {
        Some(VlanProtocol::Ieee8021Q) => &[CUSTOMER],
        Some(VlanProtocol::Ieee8021Ad) => &[SERVICE],
        // What is not known may be either.
        Some(_) | None => &[CUSTOMER, SERVICE],
    };
    Some(Vlan { name, stripped_by })
}

/// Asks for one link, or with `NLM_F_DUMP` for all.
fn ask(request: LinkMessage, flags: u16) -> io::Result<Vec<LinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetLink(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), MsgFlags::empty().bits())?;
    let mut links = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while let Ok(next) = NetlinkBuffer::new_checked(&rest) {
            let length = (next.length() as usize).next_multiple_of(4).min(rest.len());
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            rest = &rest[length..];
            if let NetlinkPayload::Error(error) = &message.payload
                && error.code.is_some()
            {
                return Err(error.to_io());
            }
            if let NetlinkPayload::Done(_) = message.payload {
                return Ok(links);
            }
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) =
                message.payload
            {
                links.push(link);
            }
        }
        if flags & NLM_F_DUMP == 0 {
            return Ok(links);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_program_and_no_vlan() {
        assert_eq!((program_id(1), is_there(1)), (None, true));
        assert_eq!(vlans_on(1).unwrap(), []);
        assert_eq!(hides_tags("lo", 1, sys::Mode::Native, true).unwrap(), None);
        assert!(!is_veth(1).unwrap());
        assert_eq!(not_native(1), None);
        // One that nobody can switch off there, and one that would be of no use.
        let features = sys::features("lo").unwrap();
        assert!(features.iter().any(|on| on == "loopback"), "{features:?}");
        assert!(features.iter().all(|on| on != CUSTOMER.0 && on != SERVICE.0), "{features:?}");
    }

    /// As one of the features that are on.
    const FILTERING: Stripping = (FILTER, FILTER);

    fn failed<T>() -> io::Result<T> {
        Err(io::Error::from_raw_os_error(libc::EMFILE))
    }

    /// What becomes of these answers: the reason, or the kernel's error.
    fn judged(
        tags: Tags,
        features: io::Result<&[Stripping]>,
        vlans: io::Result<&[&'static [Stripping]]>,
    ) -> Result<Option<String>, Option<i32>> {
        let features = features.map(|on| on.iter().map(|(name, _)| (*name).to_owned()).collect());
        let name = |at| format!("eth0v{at}");
        let vlan =
            |(at, by): (usize, &&'static [Stripping])| Vlan { name: name(at), stripped_by: by };
        let vlans = vlans.map(|all| all.iter().enumerate().map(vlan).collect());
        let has = |on: Vec<String>| on.iter().any(|on| on == FILTER);
        let answer = match tags {
            Tags::Removed => hidden("eth0", tags, failed, || features.map(has), || vlans),
            Tags::Kept | Tags::Seen | Tags::Beside | Tags::All => {
                hidden("eth0", tags, || features, failed, || vlans)
            }
        };
        answer.map_err(|error| error.raw_os_error())
    }

    #[test]
    fn what_is_not_known_of_tags_is_taken_for_hidden() {
        let failure = Err(Some(libc::EMFILE));
        for tags in [Tags::Removed, Tags::Kept] {
            assert_eq!(judged(tags, Ok(&[CUSTOMER, FILTERING]), failed()), failure);
            assert_eq!(judged(tags, failed(), Ok(&[])), failure);
        }
        // There it is not asked.
        assert_eq!(judged(Tags::Kept, Ok(&[]), failed()), Ok(None));
        assert!(judged(Tags::All, failed(), failed()).unwrap().is_some());
    }

    /// What is on top of a card, or of something that lets all through.
    #[test]
    fn where_tags_are_off_something_below_has_to_keep_other_vlans_away() {
        let removed = |on: &[Stripping], vlans: &[&'static [Stripping]]| {
            judged(Tags::Removed, Ok(on), Ok(vlans)).expect("an answer")
        };
        assert_eq!(removed(&[FILTERING], &[]), None);
        let why = removed(&[FILTERING], &[&[CUSTOMER]]).expect("a reason");
        assert!(why.contains("eth0v0 is on it"), "{why}");
        for vlans in [&[][..], &[&[CUSTOMER][..]]] {
            let why = removed(&[CUSTOMER], vlans).expect("a reason");
            assert!(why.contains("has no rx-vlan-filter on"), "{why}");
        }
    }

    #[test]
    fn on_a_veth_it_depends_on_where_the_program_runs() {
        let (native, generic) = (sys::Mode::Native, sys::Mode::Generic);
        let seen = on_veth(native, true);
        assert_eq!(judged(seen, failed(), failed()), Ok(None));
        assert_eq!(on_veth(native, false), tags(None));
        assert_eq!(on_veth(generic, false), tags(Some(&InfoKind::Netkit)));
        for seen in [true, false] {
            let beside = on_veth(generic, seen);
            for on in [CUSTOMER, SERVICE] {
                let why = judged(beside, Ok(&[on]), failed()).unwrap().expect("a reason");
                let remedy = "`ethtool -K eth0 rxvlan off rx-vlan-stag-hw-parse off`";
                assert!(why.contains(remedy), "{why}");
            }
            assert_eq!(judged(beside, Ok(&[]), failed()), Ok(None));
            assert_eq!(judged(beside, failed(), Ok(&[])), Err(Some(libc::EMFILE)));
        }
    }

    #[test]
    fn each_kind_of_tags_is_taken_off_by_a_feature_of_its_own() {
        let (q, ad): (&[Stripping], &[Stripping]) = (&[CUSTOMER], &[SERVICE]);
        let unknown: &[Stripping] = &[CUSTOMER, SERVICE];
        let told = [
            (q, vec![q], Some("eth0v0 is on it: `ethtool -K eth0 rxvlan off`")),
            (q, vec![ad], None),
            (ad, vec![q], None),
            (ad, vec![q, ad], Some("eth0v1 is on it: `ethtool -K eth0 rx-vlan-stag-hw-parse off`")),
            (ad, vec![unknown], Some("`ethtool -K eth0 rx-vlan-stag-hw-parse off`")),
            (unknown, vec![], None),
        ];
        for (on, vlans, remedy) in told {
            let why = judged(Tags::Kept, Ok(on), Ok(&vlans)).unwrap();
            let is_right = match (&why, remedy) {
                (Some(why), Some(remedy)) => why.contains(remedy),
                (why, remedy) => why.is_none() && remedy.is_none(),
            };
            assert!(is_right, "{on:?}, {vlans:?}: {why:?}");
        }
    }

    #[test]
    fn a_vlan_is_known_by_what_it_is_on_and_by_its_protocol() {
        let link = |protocol: &[VlanProtocol]| {
            let data = protocol.iter().map(|protocol| InfoVlan::Protocol(*protocol)).collect();
            let infos = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(data))];
            let mut link = LinkMessage::default();
            link.attributes = vec![
                LinkAttribute::IfName("eth0.7".to_owned()),
                LinkAttribute::Link(3),
                LinkAttribute::LinkInfo(infos),
            ];
            link
        };
        let by = |protocol: &[VlanProtocol]| vlan(&link(protocol), 3).unwrap().stripped_by;
        assert_eq!(by(&[VlanProtocol::Ieee8021Q]), [CUSTOMER]);
        assert_eq!(by(&[VlanProtocol::Ieee8021Ad]), [SERVICE]);
        assert_eq!(by(&[]), [CUSTOMER, SERVICE]);
        assert_eq!(vlan(&link(&[]), 4), None);
        let mut other = link(&[]);
        other.attributes[2] = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan)]);
        assert_eq!(vlan(&other, 3), None);
    }

    #[test]
    fn an_interface_that_is_not_there_has_nothing() {
        assert_eq!((program_id(u32::MAX >> 1), is_there(u32::MAX >> 1)), (None, false));
        let hides = |name, ifindex| hides_tags(name, ifindex, sys::Mode::Generic, true);
        assert_eq!(hides("no such interface", u32::MAX >> 1).unwrap(), None);
        // One of this name is not there, so that nothing is known of the first one.
        assert_eq!(hides("gone", 1).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(sys::features("no such interface").is_err());
    }
}
