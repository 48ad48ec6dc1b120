//! What our nf_tables table holds, for each family:
//!
//! ```text
//! table ip6 xvrrp {
//!     set refused { type ipv6_addr; }
//!     set refused_link { type ipv6_addr . ifname; }
//!     chain input {
//!         type filter hook input priority -1;
//!         icmpv6 type nd-neighbor-solicit accept
//!         icmpv6 type nd-neighbor-advert accept
//!         ip6 daddr @refused drop
//!         ip6 daddr . iifname @refused_link drop
//!     }
//!     chain output { the same with saddr, oifname, hook output }
//! }
//! ```
//!
//! As with keepalived, the host itself does not reach the addresses either. What is forwarded passes
//! neither hook, and ARP no hook of IP.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Refused;
use super::message::{APPEND, Attributes, Batch, CREATE, Request};

const FILTER: &str = "filter";
const SET: &str = "refused";
const SET_ON_LINK: &str = "refused_link";
/// keepalived's: in front of the host's own filter.
const PRIORITY: i32 = -1;
/// Elements of one message, which stays far below the 64 KiB of an attribute.
const ELEMENTS: usize = 500;
/// `IFNAMSIZ`.
const NAME: usize = 16;

const REGISTER_VERDICT: u32 = 0;
/// Registers are of 16 bytes, and a key may reach from one into the next.
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_PROTOCOL: u32 = 16;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const ICMPV6: u8 = 58;
/// RFC 9568 §6.1: neighbour solicitations and advertisements must not be dropped. Nor are reports of
/// the groups that they come by: a switch that snoops would let none through.
const NEIGHBOURS: [u8; 5] = [135, 136, 131, 132, 143];

/// A family as nf_tables knows it.
#[derive(Clone, Copy, Debug)]
struct Family {
    /// `NFPROTO_`.
    number: u8,
    /// Where the header has source and destination.
    addresses: [u32; 2],
    /// Bytes of an address.
    length: u32,
    /// What `nft` calls an address.
    kind: u32,
}

const IPV4: Family = Family { number: 2, addresses: [12, 16], length: 4, kind: 7 };
const IPV6: Family = Family { number: 10, addresses: [8, 24], length: 16, kind: 8 };
/// The families that it is in, by their numbers.
pub(super) const FAMILIES: [u8; 2] = [IPV4.number, IPV6.number];
/// What `nft` calls an interface's name, and how it writes a key of two parts.
const KIND_NAME: u32 = 41;
const KIND_BITS: u32 = 6;

/// A batch that puts the table in place of whatever was there of it; without addresses none is left.
pub(super) fn table(name: &str, refused: &BTreeSet<Refused>) -> Batch {
    let mut batch = Batch::new();
    for family in [IPV4, IPV6] {
        let of = |refused: &&Refused| refused.ip.is_ipv4() == (family.number == IPV4.number);
        let addresses: Vec<&Refused> = refused.iter().filter(of).collect();
        // Made first, so that it can be removed whether it was there or not.
        batch.push(Request::NewTable, CREATE, family.number, |table| {
            table.text(1, name);
        });
        batch.push(Request::DeleteTable, 0, family.number, |table| {
            table.text(1, name);
        });
        if !addresses.is_empty() {
            batch.push(Request::NewTable, CREATE, family.number, |table| {
                table.text(1, name);
            });
            Table { batch: &mut batch, name, family }.fill(&addresses);
        }
    }
    batch
}

/// The questions whether the table is there, one for each family that it is to be in.
pub(super) fn questions(name: &str, refused: &BTreeSet<Refused>) -> Vec<Vec<u8>> {
    let families = [(IPV4, true), (IPV6, false)].into_iter();
    let used = families.filter(|(_, v4)| refused.iter().any(|one| one.ip.is_ipv4() == *v4));
    used.map(|(family, _)| {
        Batch::question(Request::GetTable, family.number, |table| {
            table.text(1, name);
        })
    })
    .collect()
}

struct Table<'b> {
    batch: &'b mut Batch,
    name: &'b str,
    family: Family,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug)]
struct Way {
    chain: &'static str,
    hook: u32,
    address: u32,
    name: u32,
}

impl Table<'_> {
    fn fill(&mut self, refused: &[&Refused]) {
        let Family { length, kind, addresses: [source, destination], .. } = self.family;
        let everywhere: Vec<Vec<u8>> =
            refused.iter().filter(|r| r.link.is_none()).map(|r| octets(r.ip)).collect();
        let on_link: Vec<Vec<u8>> = refused
            .iter()
            .filter_map(|r| r.link.as_ref().map(|link| [octets(r.ip), padded(link)].concat()))
            .collect();
        self.set(SET, 1, kind, length, &everywhere);
        if !on_link.is_empty() {
            let kind = kind << KIND_BITS | KIND_NAME;
            self.set(SET_ON_LINK, 2, kind, length + NAME as u32, &on_link);
        }
        for way in [
            Way { chain: "input", hook: 1, address: destination, name: META_INPUT_NAME },
            Way { chain: "output", hook: 3, address: source, name: META_OUTPUT_NAME },
        ] {
            self.chain(way);
            if self.family.number == IPV6.number {
                NEIGHBOURS.into_iter().for_each(|kind| self.accept_neighbours(way, kind));
            }
            self.drop(way, false);
            if !on_link.is_empty() {
                self.drop(way, true);
            }
        }
    }

    fn set(&mut self, set: &str, id: u32, kind: u32, length: u32, elements: &[Vec<u8>]) {
        let name = self.name;
        self.batch.push(Request::NewSet, CREATE, self.family.number, |attributes| {
            attributes.text(1, name).text(2, set).number(3, 0).number(4, kind);
            attributes.number(5, length).number(10, id);
        });
        for some in elements.chunks(ELEMENTS) {
            self.batch.push(Request::NewElements, CREATE, self.family.number, |attributes| {
                attributes.text(1, name).text(2, set).nest(3, |list| {
                    for element in some {
                        list.nest(1, |entry| {
                            entry.nest(1, |key| {
                                key.bytes(1, element);
                            });
                        });
                    }
                });
            });
        }
    }

    fn chain(&mut self, way: Way) {
        let name = self.name;
        self.batch.push(Request::NewChain, CREATE, self.family.number, |attributes| {
            attributes.text(1, name).text(3, way.chain);
            attributes.nest(4, |hook| {
                hook.number(1, way.hook).bytes(2, &PRIORITY.to_be_bytes());
            });
            attributes.number(5, ACCEPT).text(7, FILTER);
        });
    }

    fn accept_neighbours(&mut self, way: Way, kind: u8) {
        self.rule(way, |rule| {
            meta(rule, META_PROTOCOL, REGISTER_1);
            compare(rule, REGISTER_1, &[ICMPV6]);
            payload(rule, BASE_TRANSPORT, 0, 1, REGISTER_1);
            compare(rule, REGISTER_1, &[kind]);
            verdict(rule, ACCEPT);
        });
    }

    fn drop(&mut self, way: Way, on_link: bool) {
        let length = self.family.length;
        self.rule(way, |rule| {
            payload(rule, BASE_NETWORK, way.address, length, REGISTER_1);
            if on_link {
                meta(rule, way.name, REGISTER_2);
            }
            let (set, id) = if on_link { (SET_ON_LINK, 2) } else { (SET, 1) };
            expression(rule, "lookup", |data| {
                data.text(1, set).number(2, REGISTER_1).number(4, id);
            });
            verdict(rule, DROP);
        });
    }

    fn rule(&mut self, way: Way, expressions: impl FnOnce(&mut Attributes<'_>)) {
        let name = self.name;
        self.batch.push(Request::NewRule, CREATE | APPEND, self.family.number, |attributes| {
            attributes.text(1, name).text(2, way.chain).nest(4, expressions);
        });
    }
}

fn expression(rule: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    rule.nest(1, |element| {
        element.text(1, name).nest(2, data);
    });
}

/// Loads bytes of a packet.
fn payload(rule: &mut Attributes<'_>, base: u32, offset: u32, length: u32, register: u32) {
    expression(rule, "payload", |data| {
        data.number(1, register).number(2, base).number(3, offset).number(4, length);
    });
}

/// Loads what is known of a packet.
fn meta(rule: &mut Attributes<'_>, key: u32, register: u32) {
    expression(rule, "meta", |data| {
        data.number(1, register).number(2, key);
    });
}

/// Goes on only where a register is this.
fn compare(rule: &mut Attributes<'_>, register: u32, value: &[u8]) {
    expression(rule, "cmp", |data| {
        data.number(1, register).number(2, EQUAL).nest(3, |inner| {
            inner.bytes(1, value);
        });
    });
}

fn verdict(rule: &mut Attributes<'_>, code: u32) {
    expression(rule, "immediate", |data| {
        data.number(1, REGISTER_VERDICT).nest(2, |inner| {
            inner.nest(2, |verdict| {
                verdict.number(1, code);
            });
        });
    });
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(NAME, 0);
    bytes
}
