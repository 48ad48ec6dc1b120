//! What the kernel says about an interface that a program is to be attached to.

use std::io;

use aya::programs::loaded_programs;
use nix::sys::socket::MsgFlags;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp};
use rtnetlink::sys::{Socket, SocketAddr, constants::NETLINK_ROUTE};

use super::sys;

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

/// Says why adverts on an interface must not be judged by a program that can't see VLAN tags, where
/// that is so: those of VLANs would look like the interface's own.
///
/// # Errors
/// The kernel could not be asked.
pub(super) fn hides_tags(name: &str, ifindex: u32) -> io::Result<Option<String>> {
    let tags = kind(ifindex).map(|kind| tags(kind.as_ref()));
    // A kernel that can't say has no such hardware.
    let strips = || sys::strips_vlan_tags(name).unwrap_or(false);
    hidden(name, tags, strips, || vlan_on(ifindex)).or_else(|error| match error.raw_os_error() {
        // One that is gone has none, and no adverts either.
        Some(libc::ENODEV) => Ok(None),
        _ => Err(error),
    })
}

/// Why tags are hidden on an interface. `strips`: the hardware takes them off; `vlan`: one on it, by name.
fn hidden(
    name: &str,
    tags: io::Result<Tags>,
    strips: impl FnOnce() -> bool,
    vlan: impl FnOnce() -> io::Result<Option<String>>,
) -> io::Result<Option<String>> {
    Ok(match tags? {
        Tags::All => Some("frames of all VLANs come up to a bridge, without their tags".to_owned()),
        Tags::Removed => vlan()?.map(|vlan| {
            format!("VLAN tags are off before frames come up to it, and {vlan} is on it")
        }),
        Tags::Kept if !strips() => None,
        Tags::Kept => vlan()?.map(|vlan| {
            format!(
                "the interface takes VLAN tags off before XDP sees them, and {vlan} is on it: \
                 `ethtool -K {name} rxvlan off` would let XDP be used"
            )
        }),
    })
}

/// What the kernel does to VLAN tags before XDP sees a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tags {
    /// Nothing; the hardware may take them off.
    Kept,
    /// They are taken off at another interface, from which the frame comes up to this one. Hardware
    /// lets none through of VLANs that are not on it, unless it is told to.
    Removed,
    /// The same, and the other interfaces let the frames of all VLANs through.
    All,
}

/// What that is for an interface of this kind. A VLAN keeps them: a second tag is still in its frames.
fn tags(kind: Option<&InfoKind>) -> Tags {
    const FED_BY_OTHERS: [InfoKind; 6] = [
        InfoKind::Bond,
        InfoKind::Team,
        InfoKind::MacVlan,
        InfoKind::MacVtap,
        InfoKind::IpVlan,
        InfoKind::IpVtap,
    ];
    match kind {
        Some(kind) if *kind == InfoKind::Bridge => Tags::All,
        Some(kind) if FED_BY_OTHERS.contains(kind) => Tags::Removed,
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
    Ok(attributes(ifindex)?
        .filter_map(
            |attribute| {
                if let LinkAttribute::LinkInfo(infos) = attribute { Some(infos) } else { None }
            },
        )
        .flatten()
        .find_map(|info| if let LinkInfo::Kind(kind) = info { Some(kind) } else { None }))
}

/// A VLAN on an interface, by name.
fn vlan_on(ifindex: u32) -> io::Result<Option<String>> {
    let links = ask(LinkMessage::default(), NLM_F_DUMP)?;
    Ok(links.into_iter().find_map(|link| {
        let attributes = &link.attributes;
        let on_it = attributes.contains(&LinkAttribute::Link(ifindex));
        let is_vlan = attributes.iter().any(|attribute| {
            matches!(attribute, LinkAttribute::LinkInfo(infos)
                if infos.contains(&LinkInfo::Kind(InfoKind::Vlan)))
        });
        let name = attributes.iter().find_map(|attribute| {
            if let LinkAttribute::IfName(name) = attribute { Some(name.clone()) } else { None }
        });
        if on_it && is_vlan { name } else { None }
    }))
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
        assert_eq!(vlan_on(1).unwrap(), None);
        assert_eq!(hides_tags("lo", 1).unwrap(), None);
        assert_eq!(not_native(1), None);
    }

    #[test]
    fn what_is_not_known_of_tags_is_taken_for_hidden() {
        let failed = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        let none = || Ok(None);
        let eth0v5 = || Ok(Some("eth0v5".to_owned()));
        let hidden = |tags, strips, vlan: fn() -> io::Result<Option<String>>| {
            hidden("eth0", tags, || strips, vlan).map_err(|error| error.raw_os_error())
        };
        assert_eq!(
            hidden(Err(io::Error::from_raw_os_error(libc::EMFILE)), false, none),
            Err(Some(libc::EMFILE))
        );
        for (tags, strips) in [(Tags::Removed, false), (Tags::Kept, true)] {
            assert_eq!(hidden(Ok(tags), strips, failed), Err(Some(libc::EMFILE)));
            assert_eq!(hidden(Ok(tags), strips, none), Ok(None));
            let why = hidden(Ok(tags), strips, eth0v5).unwrap().expect("a reason");
            assert!(why.contains("eth0v5 is on it"), "{why}");
        }
        // There it is not asked.
        assert_eq!(hidden(Ok(Tags::Kept), false, failed), Ok(None));
        assert!(hidden(Ok(Tags::All), false, failed).unwrap().is_some());
    }

    #[test]
    fn an_interface_that_is_not_there_has_nothing() {
        assert_eq!((program_id(u32::MAX >> 1), is_there(u32::MAX >> 1)), (None, false));
        assert_eq!(hides_tags("no such interface", u32::MAX >> 1).unwrap(), None);
        assert!(sys::strips_vlan_tags("no such interface").is_err());
    }
}
