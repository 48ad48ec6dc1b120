//! What the object file says about itself.
#![expect(unsafe_code, reason = "the kernel and the loader find these by name and section")]

/// The layout of the maps and records; the loader takes no other than its own.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xvrrp_abi")]
static XVRRP_ABI: u32 = vrrp_common::abi::VERSION;

/// Without a licence that the kernel knows as free, it keeps its clocks and the ring to itself.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
