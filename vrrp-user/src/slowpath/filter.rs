//! What the kernel lets into the socket, as a classic BPF program.

use std::collections::BTreeSet;

use vrrp_common::wire;

/// Which VRRP packets the socket takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of the interface: XDP does not run there.
    All,
    /// Those to the group for these VRIDs: XDP runs there and has dealt with all it could, so that
    /// what comes is what it passed up.
    Only(BTreeSet<u8>),
}

// Offsets behind an Ethernet header without tags: the kernel has taken them off.
const IP: u32 = 14;
const FRAGMENT: u32 = IP + 6;
const PROTOCOL: u32 = IP + 9;
const DESTINATION: u32 = IP + 16;
/// The VRID, behind the IP header whose length is in the index register.
const VRID: u32 = IP + 1;

/// Everything but "don't fragment" and "more fragments".
const FRAGMENT_OFFSET: u32 = 0x1fff;
const VLAN_ID: u32 = 0x0fff;
const WHOLE: u32 = 0xffff;

// Operations; libc has the parts, which are narrower than the field.
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_BYTE_INDEXED: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_IND) as u16;
const LOAD_HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
const TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG) as u32;
const TAG_PRESENT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;

impl Filter {
    /// The program: accepts whole frames.
    pub(super) fn program(&self) -> Vec<libc::sock_filter> {
        let mut program = vec![
            load(LOAD_BYTE, PROTOCOL),
            // Each test skips the refusal behind it, or runs into it.
            unless_equal(u32::from(wire::PROTOCOL)),
            refuse(),
            load(LOAD_HALF, FRAGMENT),
            unless_any_bit(FRAGMENT_OFFSET),
            refuse(),
            // A frame for a VLAN that is not on this host: the kernel takes the tag off and says that
            // the frame is for another host.
            load(LOAD_WORD, PACKET_TYPE),
            if_equal_refuse(libc::PACKET_OTHERHOST.into()),
            refuse(),
            load(LOAD_WORD, TAG_PRESENT),
            jump(JUMP_EQUAL, 0, 3, 0),
            load(LOAD_WORD, TAG),
            unless_any_bit(VLAN_ID),
            refuse(),
        ];
        if let Self::Only(vrids) = self {
            program.push(load(LOAD_WORD, DESTINATION));
            program.push(unless_equal(u32::from_be_bytes(wire::GROUP_V4)));
            program.push(refuse());
            program.push(load(LOAD_HEADER_LENGTH, IP));
            program.push(load(LOAD_BYTE_INDEXED, VRID));
            for vrid in vrids {
                program.push(jump(JUMP_EQUAL, u32::from(*vrid), 0, 1));
                program.push(accept());
            }
            program.push(refuse());
        } else {
            program.push(accept());
        }
        program
    }
}

fn load(operation: u16, at: u32) -> libc::sock_filter {
    libc::sock_filter { code: operation, jt: 0, jf: 0, k: at }
}

fn jump(operation: u16, value: u32, if_so: u8, if_not: u8) -> libc::sock_filter {
    libc::sock_filter { code: operation, jt: if_so, jf: if_not, k: value }
}

/// Runs into the refusal behind it unless the value is this.
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
    use super::*;
    use hex_literal::hex;
    use rstest::rstest;

    const GOOD: [u8; 54] = hex!(
        "01005e000012 020000000065 0800"
        "45c0002800010000ff70182dc0000265e0000012"
        "21339601000185cfc00002fa0000000000000000"
    );
    /// With the Router Alert option.
    const OPTIONS: [u8; 58] = hex!(
        "01005e000012 020000000065 0800"
        "46c0002c00010000ff708324c0000265e000001294040000"
        "21339601000185cfc00002fa0000000000000000"
    );

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

    fn tagged(tag: u32) -> Beside {
        Beside { tag: Some(tag), ..GROUP }
    }

    #[rstest]
    #[case::good(GOOD.to_vec(), GROUP, true, true)]
    #[case::options(OPTIONS.to_vec(), GROUP, true, true)]
    #[case::udp(with(23, &[17]), GROUP, false, false)]
    #[case::first_fragment(with(20, &[0x20, 0]), GROUP, true, true)]
    #[case::later_fragment(with(20, &[0x20, 1]), GROUP, false, false)]
    #[case::unicast(with(30, &[192, 0, 2, 11]), Beside::default(), true, false)]
    #[case::other_group(with(30, &[224, 0, 0, 1]), GROUP, true, false)]
    #[case::other_vrid(with(35, &[52]), GROUP, true, false)]
    #[case::second_vrid(with(35, &[255]), GROUP, true, true)]
    #[case::other_vlan(GOOD.to_vec(), OTHER_VLAN, false, false)]
    #[case::tag_100(GOOD.to_vec(), tagged(100), false, false)]
    #[case::tag_0_priority_7(GOOD.to_vec(), tagged(0xe000), true, true)]
    #[case::cut(GOOD[..23].to_vec(), GROUP, false, false)]
    fn takes(
        #[case] frame: Vec<u8>,
        #[case] beside: Beside,
        #[case] all: bool,
        #[case] only: bool,
    ) {
        assert_eq!(run(&Filter::All.program(), &frame, beside), all);
        let vrids = Filter::Only([51, 255].into());
        assert_eq!(run(&vrids.program(), &frame, beside), only);
    }

    #[test]
    fn all_vrids_fit() {
        let every = Filter::Only((1..=255).collect()).program();
        // BPF_MAXINSNS.
        assert!(every.len() <= 4096);
        for vrid in 1..=255 {
            assert!(run(&every, &with(35, &[vrid]), GROUP));
        }
        assert!(!run(&every, &with(35, &[0]), GROUP));
    }
}
