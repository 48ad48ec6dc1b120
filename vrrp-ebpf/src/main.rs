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
mod packed;
mod packet;
#[cfg(feature = "timers")]
mod timer;
mod veth;
mod watch;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use vrrp_common::abi::{self, Address6Key, AddressKey, PeerKey, Router, RouterKey, TtlBounds};
use vrrp_common::check::{self, Judgement, Rules};
use vrrp_common::frame::{self, Located, Skip};
use vrrp_common::{Family, Reject};

use crate::emit::Arrival;
use crate::packet::Frame;

/// What became of a frame.
enum Outcome {
    /// Not VRRP, or of another VLAN.
    Other,
    /// Perhaps VRRP, and only the slow path can tell what of it.
    Complex,
    /// VRRP, but too short, or for one of several instances with a VRID.
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
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
fn vrrp_xdp(ctx: XdpContext) -> u32 {
    match frame::locate::<_, false>(&Frame::new(&ctx)) {
        Ok(Located { family: Family::V4, sealed: false, ip, .. }) => v4(ctx.ctx, ip),
        Ok(Located { family: Family::V4, sealed: true, ip, .. }) => sealed_v4(ctx.ctx, ip),
        Ok(Located { family: Family::V6, ip, .. }) => {
            conclude_v6(ctx.ctx, ip, judge_v6(ctx.ctx, ip))
        }
        Err(Skip::Other) => action(&ctx, &Outcome::Other),
        Err(Skip::Complex { family, ip }) => {
            if matches!(family, Family::V4) {
                emit::complex_v4(&Frame::new(&ctx), ip, ctx.ingress_ifindex() as u32);
            }
            action(&ctx, &Outcome::Complex)
        }
    }
}

/// The program for the driver of a veth, where a frame's tag may be beside it. What is not of a VLAN is
/// the other program's, so that nobody else pays for this.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
fn vrrp_xdp_veth(ctx: XdpContext) -> u32 {
    let located = frame::locate::<_, false>(&Frame::new(&ctx));
    if matches!(located, Err(Skip::Other)) || veth::is_of_a_vlan(&ctx) {
        return action(&ctx, &Outcome::Other);
    }
    maps::judge(&ctx);
    // Not reached while the loader's map is there.
    action(&ctx, &Outcome::Complex)
}

// Functions of the kernel's, each with a stack of its own: together they need more than the 512 bytes
// that there are. And in each the offsets are constants.

#[inline(never)]
fn v4(ctx: *mut xdp_md, ip: usize) -> u32 {
    let ctx = XdpContext::new(ctx);
    let located = Located::v4(ip);
    conclude(&ctx, located, &judge(&ctx, &located))
}

#[inline(never)]
fn sealed_v4(ctx: *mut xdp_md, ip: usize) -> u32 {
    let ctx = XdpContext::new(ctx);
    let located = Located::sealed_v4(ip);
    conclude(&ctx, located, &judge(&ctx, &located))
}

/// IPv6's addresses take so much of the stack that judging and concluding don't fit into one.
#[inline(never)]
fn judge_v6(ctx: *mut xdp_md, ip: usize) -> u64 {
    packed::pack(&judge(&XdpContext::new(ctx), &Located::v6(ip)))
}

#[inline(never)]
fn conclude_v6(ctx: *mut xdp_md, ip: usize, packed: u64) -> u32 {
    conclude(&XdpContext::new(ctx), Located::v6(ip), &packed::unpack(packed))
}

#[inline(always)]
fn judge(ctx: &XdpContext, located: &Located) -> Judgement {
    let rules = Interface(ctx.ingress_ifindex() as u32);
    check::judge::<_, _, 1>(&Frame::new(ctx), located, &rules)
}

/// What the kernel is to do with a frame: the policy in one place.
#[inline(always)]
fn action(ctx: &XdpContext, outcome: &Outcome) -> u32 {
    #[cfg(feature = "log")]
    log::outcome(ctx, outcome);
    #[cfg(not(feature = "log"))]
    let _ = ctx;
    match outcome {
        // Others' business, or the slow path's.
        Outcome::Other
        | Outcome::Complex
        | Outcome::NotOurs
        | Outcome::Stranger
        | Outcome::RingFull => XDP_PASS,
        Outcome::Accepted | Outcome::Repeated => XDP_DROP,
        Outcome::Refused(reason) => match reason {
            // Sent to one host, which may be behind us, or to a group that others may listen on.
            Reject::Destination | Reject::Group => XDP_PASS,
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
            | Reject::OwnSource
            | Reject::NotAPeer
            | Reject::FirstAddress
            | Reject::Replay => XDP_DROP,
        },
    }
}

#[inline(always)]
fn conclude(ctx: &XdpContext, located: Located, judgement: &Judgement) -> u32 {
    let frame = Frame::new(ctx);
    let arrival = Arrival { frame: &frame, ifindex: ctx.ingress_ifindex() as u32, located };
    let outcome = match *judgement {
        Judgement::NotOurs => Outcome::NotOurs,
        Judgement::Stranger => {
            arrival.stranger();
            Outcome::Stranger
        }
        Judgement::Unfinished { slot } => {
            maps::count(slot, abi::COUNTER_COMPLEX);
            Outcome::Complex
        }
        Judgement::Ours { slot, verdict } => match verdict {
            Ok(checked) => arrival.accepted(slot, checked),
            // The rest is there, where this program does not read.
            Err(Reject::Truncated) if frame.goes_on() => {
                maps::count(slot, abi::COUNTER_COMPLEX);
                Outcome::Complex
            }
            Err(reason) => {
                arrival.refused(slot, reason);
                Outcome::Refused(reason)
            }
        },
    };
    action(ctx, &outcome)
}

/// The rules in the maps, for adverts that arrive on the interface with this index.
struct Interface(u32);

impl Rules for Interface {
    #[inline(always)]
    fn router(&self, family: Family, vrid: u8, _: &[u8; 16]) -> Option<&Router> {
        maps::router(&RouterKey::new(self.0, family, vrid))
    }

    #[inline(always)]
    fn address_v4(&self, slot: u32, address: [u8; 4]) -> Option<u32> {
        maps::address_v4(&AddressKey { slot, address })
    }

    #[inline(always)]
    fn address_v6(&self, slot: u32, address: [u8; 16]) -> Option<u32> {
        maps::address_v6(&Address6Key { slot, address })
    }

    #[inline(always)]
    fn peer(&self, slot: u32, source: [u8; 16]) -> Option<TtlBounds> {
        maps::peer(&PeerKey { slot, address: source })
    }

    /// The sum takes user space.
    #[inline(always)]
    fn unsealed(&self, _: &Router, _: &Located) -> Option<Result<(), Reject>> {
        None
    }

    /// What was heard last may have come up the slow path.
    #[inline(always)]
    fn came_last(&self, _: u32, _: &Located) -> Option<bool> {
        None
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
