//! What the kernel lets into a socket, as a classic BPF program.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vrrp_common::frame::extension;
use vrrp_common::{Family, wire};

use crate::transmit::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// Which VRRP packets a socket takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of the interface: XDP does not run there.
    All,
    /// Those for these routers: XDP runs there and has dealt with all it could, so that what comes is
    /// what it passed up.
    Only(BTreeSet<Target>),
}

/// Whose adverts the socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Where they are sent: a group, or our own address.
    pub destination: IpAddr,
    /// The virtual router.
    pub vrid: u8,
}

// Offsets behind an Ethernet header without tags: the kernel has taken them off.
const ETHERTYPE: u32 = 12;
const IP: u32 = 14;
const FRAGMENT: u32 = IP + 6;
const PROTOCOL: u32 = IP + 9;
const DESTINATION: u32 = IP + 16;
/// Behind the IPv4 header whose length is in the index register.
const NEXT_HEADER: u32 = IP;
const AH_LENGTH: u32 = IP + 1;
/// The VRID, behind an IPv4 header, and an authentication header, whose length is in the index register.
const VRID: u32 = IP + 1;
const NEXT_HEADER_V6: u32 = IP + 6;
const DESTINATION_V6: u32 = IP + 24;
const VRID_V6: u32 = IP + wire::IPV6_HEADER as u32 + 1;

/// Everything but "don't fragment" and "more fragments".
const FRAGMENT_OFFSET: u32 = 0x1fff;
const VLAN_ID: u32 = 0x0fff;
const WHOLE: u32 = 0xffff;
/// The first byte of every IPv6 group.
const GROUPS_V6: u32 = 0xff;
/// The kernel takes no longer program (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

// Operations; libc has the parts, which are narrower than the field.
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_BYTE_INDEXED: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_IND) as u16;
const LOAD_HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
const ADD: u16 = (libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K) as u16;
const ADD_INDEX: u16 = (libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X) as u16;
const SHIFT_LEFT: u16 = (libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K) as u16;
const TO_INDEX: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
const TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG) as u32;
const TAG_PRESENT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;

impl Filter {
    /// The program for the packets of a family: accepts whole frames.
    pub(super) fn program(&self, family: Family) -> Vec<libc::sock_filter> {
        let only = match self {
            Self::All => None,
            Self::Only(wanted) => Some(by_destination(wanted, family)),
        };
        let program = program(family, only.as_ref());
        // Thousands of unicast instances on one interface: what is too much is judged again.
        if program.len() <= LONGEST { program } else { self::program(family, None) }
    }
}

/// VRIDs by where their adverts are sent.
type Routers = BTreeMap<IpAddr, BTreeSet<u8>>;

fn by_destination(wanted: &BTreeSet<Target>, family: Family) -> Routers {
    let mut routers = Routers::new();
    for one in wanted.iter().filter(|one| wire::family_of(one.destination) == family) {
        routers.entry(one.destination).or_default().insert(one.vrid);
    }
    routers
}

fn program(family: Family, only: Option<&Routers>) -> Vec<libc::sock_filter> {
    match family {
        Family::V4 => [here(family), v4(only)].concat(),
        Family::V6 => [here(family), v6(only)].concat(),
    }
}

pub(super) const fn ethertype(family: Family) -> u16 {
    match family {
        Family::V4 => ETHERTYPE_IPV4,
        Family::V6 => ETHERTYPE_IPV6,
    }
}

/// Refuses frames of another protocol, and those that are for another interface or host.
fn here(family: Family) -> Vec<libc::sock_filter> {
    vec![
        load(LOAD_HALF, ETHERTYPE),
        unless_equal(ethertype(family).into()),
        refuse(),
        // A frame for a VLAN that is not on this host: the kernel takes the tag off and says that
        // the frame is for another host.
        load(LOAD_WORD, PACKET_TYPE),
        // Each test skips the refusal behind it, or runs into it.
        if_equal_refuse(libc::PACKET_OTHERHOST.into()),
        refuse(),
        load(LOAD_WORD, TAG_PRESENT),
        jump(JUMP_EQUAL, 0, 3, 0),
        load(LOAD_WORD, TAG),
        unless_any_bit(VLAN_ID),
        refuse(),
    ]
}

fn v4(only: Option<&Routers>) -> Vec<libc::sock_filter> {
    // The authentication header: for VRRP, and as long as it says (RFC 2402 §2.2).
    let sealed = [
        unless_equal(u32::from(wire::PROTOCOL_AH)),
        refuse(),
        load(LOAD_BYTE_INDEXED, NEXT_HEADER),
        unless_equal(u32::from(wire::PROTOCOL)),
        refuse(),
        load(LOAD_BYTE_INDEXED, AH_LENGTH),
        load(ADD, 2),
        load(SHIFT_LEFT, 2),
        load(ADD_INDEX, 0),
        load(TO_INDEX, 0),
    ];
    let mut program = vec![
        load(LOAD_HALF, FRAGMENT),
        unless_any_bit(FRAGMENT_OFFSET),
        refuse(),
        load(LOAD_HEADER_LENGTH, IP),
        load(LOAD_BYTE, PROTOCOL),
        jump(JUMP_EQUAL, u32::from(wire::PROTOCOL), sealed.len() as u8, 0),
    ];
    program.extend(sealed);
    program.extend(wanted(only, |vrids| among(load(LOAD_BYTE_INDEXED, VRID), vrids)));
    program
}

fn v6(only: Option<&Routers>) -> Vec<libc::sock_filter> {
    let plain = wanted(only, |vrids| among(load(LOAD_BYTE, VRID_V6), vrids));
    let mut program = vec![
        load(LOAD_BYTE, NEXT_HEADER_V6),
        jump(JUMP_EQUAL, u32::from(wire::PROTOCOL), 1, 0),
        load(JUMP, plain.len() as u32),
    ];
    program.extend(plain);
    // Extension headers: what is behind them takes a loop to find, and so comes up unseen. Fragments
    // only to groups, which have few: those to this host are too many.
    let whole = [extension::HOP_BY_HOP, extension::ROUTING, extension::DESTINATION].map(u32::from);
    let kinds = whole.iter().enumerate().map(|(i, kind)| {
        let behind = whole.len() - i;
        jump(JUMP_EQUAL, *kind, behind as u8, 0)
    });
    program.extend([
        jump(JUMP_EQUAL, extension::FRAGMENT.into(), 0, 4),
        load(LOAD_BYTE, DESTINATION_V6),
        unless_equal(GROUPS_V6),
        refuse(),
        load(JUMP, whole.len() as u32 + 1),
    ]);
    program.extend(kinds);
    program.push(refuse());
    program.extend(wanted(only, |_| vec![accept()]));
    program
}

/// Accepts everything, or what `inner` does for each destination and its VRIDs.
fn wanted(
    only: Option<&Routers>,
    inner: impl Fn(&BTreeSet<u8>) -> Vec<libc::sock_filter>,
) -> Vec<libc::sock_filter> {
    let Some(routers) = only else { return vec![accept()] };
    let mut program = Vec::new();
    for (destination, vrids) in routers {
        let words: Vec<(u32, u32)> = match destination {
            IpAddr::V4(v4) => vec![(DESTINATION, v4.to_bits())],
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                (0..4).map(|i| (DESTINATION_V6 + 4 * i, (bits >> (96 - 32 * i)) as u32)).collect()
            }
        };
        let inner = inner(vrids);
        for (i, (at, word)) in words.iter().enumerate() {
            let behind = 3 * (words.len() - i - 1) + inner.len();
            program.push(load(LOAD_WORD, *at));
            program.push(unless_equal(*word));
            program.push(load(JUMP, behind as u32));
        }
        program.extend(inner);
    }
    program.push(refuse());
    program
}

/// Accepts frames with one of these VRIDs, which `load` fetches, and refuses others.
fn among(load: libc::sock_filter, vrids: &BTreeSet<u8>) -> Vec<libc::sock_filter> {
    let mut program = vec![load];
    for vrid in vrids {
        program.push(jump(JUMP_EQUAL, u32::from(*vrid), 0, 1));
        program.push(accept());
    }
    program.push(refuse());
    program
}

fn load(operation: u16, at: u32) -> libc::sock_filter {
    libc::sock_filter { code: operation, jt: 0, jf: 0, k: at }
}

fn jump(operation: u16, value: u32, if_so: u8, if_not: u8) -> libc::sock_filter {
    libc::sock_filter { code: operation, jt: if_so, jf: if_not, k: value }
}

/// Runs into what is behind it, a refusal or a jump, unless the value is this.
fn unless_equal(value: u32) -> libc::sock_filter {
    jump(JUMP_EQUAL, value, 1, 0)
}

/// Runs into the refusal behind it if the value is this.
fn if_equal_refuse(value: u32) -> libc::sock_filter {
    jump(JUMP_EQUAL, value, 0, 1)
}

/// Runs into the refusal behind it if one of these bits is set.
fn unless_any_bit(bits: u32) -> libc::sock_filter {
    jump(JUMP_ANY_BIT, bits, 0, 1)
}

fn accept() -> libc::sock_filter {
    load(RETURN, WHOLE)
}

fn refuse() -> libc::sock_filter {
    load(RETURN, 0)
}

#[cfg(test)]
mod tests {
    use super::super::frames::{GOOD, OPTIONS};
    use super::*;
    use hex_literal::hex;
    use rstest::rstest;

    /// What the kernel adds to a frame.
    #[derive(Clone, Copy, Default)]
    struct Beside {
        packet_type: u32,
        tag: Option<u32>,
    }

    /// The kernel's interpreter, as far as the program uses it.
    fn run(program: &[libc::sock_filter], frame: &[u8], beside: Beside) -> bool {
        let (mut a, mut x, mut at) = (0u32, 0usize, 0);
        let bytes = |from: usize, n: usize| -> Option<u32> {
            let bytes = frame.get(from..from + n)?;
            Some(bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte)))
        };
        loop {
            let step = program[at];
            at += 1;
            let loaded = match step.code {
                LOAD_WORD if step.k == PACKET_TYPE => Some(beside.packet_type),
                LOAD_WORD if step.k == TAG => Some(beside.tag.unwrap_or(0)),
                LOAD_WORD if step.k == TAG_PRESENT => Some(beside.tag.is_some().into()),
                LOAD_WORD => bytes(step.k as usize, 4),
                LOAD_HALF => bytes(step.k as usize, 2),
                LOAD_BYTE => bytes(step.k as usize, 1),
                LOAD_BYTE_INDEXED => bytes(x + step.k as usize, 1),
                ADD => Some(a + step.k),
                ADD_INDEX => Some(a + x as u32),
                SHIFT_LEFT => Some(a << step.k),
                TO_INDEX => {
                    x = a as usize;
                    Some(a)
                }
                JUMP => {
                    at += step.k as usize;
                    Some(a)
                }
                LOAD_HEADER_LENGTH => {
                    x = 4 * (bytes(step.k as usize, 1).unwrap() as usize & 15);
                    Some(a)
                }
                JUMP_EQUAL => {
                    at += usize::from(if a == step.k { step.jt } else { step.jf });
                    Some(a)
                }
                JUMP_ANY_BIT => {
                    at += usize::from(if a & step.k != 0 { step.jt } else { step.jf });
                    Some(a)
                }
                RETURN => return step.k != 0,
                code => panic!("operation {code:#x}"),
            };
            // A read behind the end refuses the frame.
            let Some(loaded) = loaded else { return false };
            a = loaded;
        }
    }

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut frame = GOOD.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    }

    const GROUP: Beside = Beside { packet_type: libc::PACKET_MULTICAST as u32, tag: None };
    const OTHER_VLAN: Beside = Beside { packet_type: libc::PACKET_OTHERHOST as u32, tag: None };
    const OURS: [u8; 4] = [192, 0, 2, 11];

    fn tagged(tag: u32) -> Beside {
        Beside { tag: Some(tag), ..GROUP }
    }

    /// VRIDs 51 and 255 on both groups, 51 to this host alone.
    fn vrids() -> Filter {
        let groups = [Family::V4, Family::V6].map(wire::group);
        let all = groups.into_iter().flat_map(|to| [51, 255].map(|vrid| (to, vrid)));
        let alone = [(OURS.into(), 51), ("fe80::11".parse().unwrap(), 51)];
        let wanted = |(destination, vrid)| Target { destination, vrid };
        Filter::Only(all.chain(alone).map(wanted).collect())
    }

    /// Behind an authentication header whose length field has this value.
    fn sealed(next: u8, length: u8) -> Vec<u8> {
        let mut frame = with(23, &[51]);
        let mut header = vec![0; 4 * (usize::from(length) + 2)];
        header[..2].copy_from_slice(&[next, length]);
        frame.splice(34..34, header);
        frame
    }

    #[rstest]
    #[case::good(GOOD.to_vec(), GROUP, true, true)]
    #[case::options(OPTIONS.to_vec(), GROUP, true, true)]
    #[case::udp(with(23, &[17]), GROUP, false, false)]
    #[case::another_protocol(with(12, &[0x88, 0xcc]), GROUP, false, false)]
    #[case::first_fragment(with(20, &[0x20, 0]), GROUP, true, true)]
    #[case::later_fragment(with(20, &[0x20, 1]), GROUP, false, false)]
    #[case::unicast(with(30, &OURS), Beside::default(), true, true)]
    #[case::unicast_other_vrid(with(30, &[192, 0, 2, 11, 0x21, 255]), Beside::default(), true, false)]
    #[case::unicast_to_another(with(30, &[192, 0, 2, 12]), Beside::default(), true, false)]
    #[case::other_group(with(30, &[224, 0, 0, 1]), GROUP, true, false)]
    #[case::other_vrid(with(35, &[52]), GROUP, true, false)]
    #[case::second_vrid(with(35, &[255]), GROUP, true, true)]
    #[case::other_vlan(GOOD.to_vec(), OTHER_VLAN, false, false)]
    #[case::tag_100(GOOD.to_vec(), tagged(100), false, false)]
    #[case::tag_0_priority_7(GOOD.to_vec(), tagged(0xe000), true, true)]
    #[case::cut(GOOD[..23].to_vec(), GROUP, false, false)]
    #[case::sealed(sealed(112, 4), GROUP, true, true)]
    #[case::sealed_longer(sealed(112, 7), GROUP, true, true)]
    #[case::sealed_udp(sealed(17, 4), GROUP, false, false)]
    fn takes(
        #[case] frame: Vec<u8>,
        #[case] beside: Beside,
        #[case] all: bool,
        #[case] only: bool,
    ) {
        assert_eq!(run(&Filter::All.program(Family::V4), &frame, beside), all);
        assert_eq!(run(&vrids().program(Family::V4), &frame, beside), only);
    }

    /// An IPv6 packet to that address, with these headers behind the first.
    fn v6(to: &str, first: u8, headers: &[u8], vrid: u8) -> Vec<u8> {
        let mut frame = hex!("333300000012 020000000065 86dd 6c000000 0028").to_vec();
        frame.extend([first, 255]);
        frame.extend([0xfe; 16]);
        frame.extend(to.parse::<std::net::Ipv6Addr>().unwrap().octets());
        frame.extend(headers);
        frame.extend([0x31, vrid, 150, 1, 0, 100, 0, 0]);
        frame
    }

    const OPTION: [u8; 8] = hex!("7000 0502 0000 0100");

    #[rstest]
    #[case::good(v6("ff02::12", 112, &[], 51), true, true)]
    #[case::other_vrid(v6("ff02::12", 112, &[], 52), true, false)]
    #[case::other_group(v6("ff02::13", 112, &[], 51), true, false)]
    #[case::unicast(v6("fe80::11", 112, &[], 51), true, true)]
    #[case::unicast_to_another(v6("fe80::12", 112, &[], 51), true, false)]
    #[case::udp(v6("ff02::12", 17, &[], 51), false, false)]
    #[case::another_protocol(GOOD.to_vec(), false, false)]
    #[case::hop_by_hop(v6("ff02::12", 0, &OPTION, 52), true, true)]
    #[case::routing(v6("ff02::12", 43, &OPTION, 51), true, true)]
    #[case::options_to_us(v6("fe80::11", 60, &OPTION, 51), true, true)]
    #[case::options_to_another(v6("fe80::12", 60, &OPTION, 51), true, false)]
    #[case::fragment(v6("ff02::12", 44, &OPTION, 51), true, true)]
    #[case::fragment_to_us(v6("fe80::11", 44, &OPTION, 51), false, false)]
    #[case::cut(v6("ff02::12", 112, &[], 51)[..20].to_vec(), false, false)]
    fn takes_v6(#[case] frame: Vec<u8>, #[case] all: bool, #[case] only: bool) {
        assert_eq!(run(&Filter::All.program(Family::V6), &frame, GROUP), all);
        assert_eq!(run(&vrids().program(Family::V6), &frame, GROUP), only);
        assert!(!run(&Filter::All.program(Family::V6), &frame, OTHER_VLAN));
    }

    #[test]
    fn all_vrids_fit() {
        let destination = wire::group(Family::V4);
        let every = (1..=255).map(|vrid| Target { destination, vrid }).collect();
        let every = Filter::Only(every).program(Family::V4);
        assert!(every.len() <= LONGEST);
        for vrid in 1..=255 {
            assert!(run(&every, &with(35, &[vrid]), GROUP));
        }
        assert!(!run(&every, &with(35, &[0]), GROUP));
        // A family that nobody uses.
        assert!(!run(&vrids().program(Family::V4), &v6("ff02::12", 112, &[], 51), GROUP));
    }

    #[test]
    fn more_than_the_kernel_takes_is_all() {
        let to = |n: u16| IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, n]);
        let every = (0..1000).map(|n| Target { destination: to(n), vrid: 1 }).collect();
        let program = Filter::Only(every).program(Family::V6);
        assert_eq!(program.len(), Filter::All.program(Family::V6).len());
    }
}
