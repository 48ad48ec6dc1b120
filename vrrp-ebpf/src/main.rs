//! The XDP program: finds adverts, has them judged, reports the good ones that say something new and
//! counts the others.
//!
//! It never decides an election and never changes a frame. What it can't take apart goes up the slow
//! path, which gives the same verdicts by the same validator.
//!
//! On the host it compiles to an empty program, so that check and clippy see all of it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch, core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        internal_features,
        reason = "BPF has the atomics, but core's types for them are not there"
    )
)]

mod atomic;
mod emit;
#[cfg(feature = "log")]
mod log;
mod maps;
mod object;
mod packet;
#[cfg(feature = "timers")]
mod timer;
mod watch;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use vrrp_common::abi::{self, AddressKey, Router, RouterKey};
use vrrp_common::check::{self, Judgement, Rules};
use vrrp_common::frame::{self, Skip};
use vrrp_common::{Family, Reject};

use crate::emit::Arrival;
use crate::packet::Frame;

/// What became of a frame.
enum Outcome {
    /// Not VRRP, or of another VLAN.
    Other,
    /// VRRP in a shape or length that only the slow path takes apart.
    Complex,
    /// VRRP, but too short or to a group that is not VRRP's.
    NotOurs,
    /// For a virtual router that another daemon may serve.
    Stranger,
    /// Good, and in the ring.
    Accepted,
    /// Good, and what is known already.
    Repeated,
    /// Good, but the ring is full.
    RingFull,
    /// For one of our instances, and bad.
    Refused(Reject),
}

/// The program, attached to every interface that carries adverts.
#[xdp]
fn vrrp_xdp(ctx: XdpContext) -> u32 {
    let outcome = outcome(&ctx);
    #[cfg(feature = "log")]
    log::outcome(&ctx, &outcome);
    action(&outcome)
}

/// What the kernel is to do with a frame: the policy in one place.
#[inline(always)]
fn action(outcome: &Outcome) -> u32 {
    match outcome {
        // Others' business, or the slow path's.
        Outcome::Other
        | Outcome::Complex
        | Outcome::NotOurs
        | Outcome::Stranger
        | Outcome::RingFull => XDP_PASS,
        Outcome::Accepted | Outcome::Repeated => XDP_DROP,
        Outcome::Refused(reason) => match reason {
            // Sent to one host, which may be behind us.
            Reject::Destination => XDP_PASS,
            Reject::Truncated
            | Reject::HeaderChecksum
            | Reject::Fragment
            | Reject::Source
            | Reject::Ttl
            | Reject::Version
            | Reject::Type
            | Reject::Length
            | Reject::Checksum
            | Reject::AuthType
            | Reject::AuthData
            | Reject::Interval
            | Reject::NoAddress
            | Reject::Addresses
            | Reject::ForeignCluster
            | Reject::OwnSource => XDP_DROP,
        },
    }
}

#[inline(always)]
fn outcome(ctx: &XdpContext) -> Outcome {
    let frame = Frame::new(ctx);
    let located = match frame::locate::<_, false>(&frame) {
        Ok(located) => located,
        Err(Skip::Other) => return Outcome::Other,
        Err(Skip::Complex) => {
            emit::complex(&frame, ctx.ingress_ifindex() as u32);
            return Outcome::Complex;
        }
    };
    let ifindex = ctx.ingress_ifindex() as u32;
    let arrival = Arrival { frame: &frame, ifindex, located };
    match check::judge::<_, _, 1>(&frame, &located, &Interface(ifindex)) {
        Judgement::NotOurs => Outcome::NotOurs,
        Judgement::Stranger(envelope) => {
            arrival.stranger(&envelope);
            Outcome::Stranger
        }
        Judgement::TooLong { slot } => {
            maps::count(slot, abi::COUNTER_COMPLEX);
            Outcome::Complex
        }
        Judgement::Ours { envelope, slot, verdict } => match verdict {
            Ok(checked) => arrival.accepted(slot, &envelope, checked),
            Err(reason) => {
                arrival.refused(slot, &envelope, reason);
                Outcome::Refused(reason)
            }
        },
    }
}

/// The rules in the maps, for adverts that arrive on the interface with this index.
struct Interface(u32);

impl Rules for Interface {
    #[inline(always)]
    fn router(&self, family: Family, vrid: u8) -> Option<&Router> {
        maps::router(&RouterKey::new(self.0, family, vrid))
    }

    #[inline(always)]
    fn address_v4(&self, slot: u32, address: [u8; 4]) -> Option<u32> {
        maps::address(&AddressKey { slot, address })
    }
}

/// Never reached: nothing here panics, and the verifier would refuse an endless loop.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
