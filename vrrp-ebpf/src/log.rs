//! Messages for who debugs the program; compiled with the feature `log` only.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::{debug, trace};

use crate::Outcome;

/// Says what became of a VRRP packet.
#[inline(always)]
pub(crate) fn outcome(ctx: &XdpContext, outcome: &Outcome) {
    let ifindex = ctx.ingress_ifindex() as u32;
    match outcome {
        Outcome::Other => {}
        Outcome::Complex => debug!(ctx, "interface {}: complex, passed up", ifindex),
        Outcome::NotOurs => debug!(ctx, "interface {}: not ours", ifindex),
        Outcome::Stranger => debug!(ctx, "interface {}: another's virtual router", ifindex),
        Outcome::Accepted => trace!(ctx, "interface {}: accepted", ifindex),
        Outcome::Repeated => trace!(ctx, "interface {}: repeated", ifindex),
        Outcome::RingFull => debug!(ctx, "interface {}: ring full, passed up", ifindex),
        Outcome::Refused(reason) => {
            debug!(ctx, "interface {}: refused: {}", ifindex, reason.name());
        }
    }
}
