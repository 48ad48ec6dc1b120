//! VLAN tags that a veth hands over beside the frame.
//!
//! A bridge, or whatever else a frame came through, takes the tag out of it, and a veth's other end says
//! that it need not be put back. Since Linux 6.3 the driver keeps the socket buffer, where the tag is by
//! then, right behind the context that it gives a program. Nothing but the kernel's functions that are
//! for one interface's program alone would tell; so it is read as kernel memory, at places that the
//! loader takes from the kernel's description of its types.
#![expect(unsafe_code, reason = "kernel memory is read by address")]

use core::ptr;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::programs::XdpContext;
use vrrp_common::frame;

/// Where the pointer to the socket buffer is, behind the context's beginning. The loader writes it.
#[unsafe(no_mangle)]
static SKB_BEHIND_CONTEXT: u32 = 0;
/// Where the tag is in the socket buffer. The loader writes it.
#[unsafe(no_mangle)]
static TAG_IN_SKB: u32 = 0;

/// Whether the frame is of another interface's network, by a tag beside it. For the driver of a veth
/// alone: with any other there is something else behind the context.
#[inline(always)]
pub(crate) fn is_of_a_vlan(ctx: &XdpContext) -> bool {
    tag(ctx).is_some_and(frame::names_a_vlan)
}

/// The tag; zero where there is none, nothing where the frame came without a socket buffer, from another
/// XDP program: then all of it is in the frame.
#[inline(always)]
fn tag(ctx: &XdpContext) -> Option<u16> {
    // SAFETY: the helper reads whatever address it is given, or says that there is nothing. Volatile, or
    // the compiler would take the zeros for what is there.
    unsafe {
        let behind = ptr::read_volatile(&raw const SKB_BEHIND_CONTEXT) as usize;
        let skb: usize = bpf_probe_read_kernel(ctx.ctx.wrapping_byte_add(behind).cast()).ok()?;
        if skb == 0 {
            return None;
        }
        let within = ptr::read_volatile(&raw const TAG_IN_SKB) as usize;
        bpf_probe_read_kernel((skb + within) as *const u16).ok()
    }
}
