//! The frame under the program: the only place that reads packet memory.
#![expect(unsafe_code, reason = "packet memory is reached by address")]

use core::ptr;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use vrrp_common::Bytes;

/// A frame, as two addresses that the verifier knows.
pub(crate) struct Frame {
    ctx: *const xdp_md,
    start: usize,
    end: usize,
}

impl Frame {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx, start: ctx.data(), end: ctx.data_end() }
    }

    /// Whether the frame has more bytes than lie in its first buffer, which is all that can be read.
    #[inline(always)]
    pub(crate) fn goes_on(&self) -> bool {
        #[cfg(all(target_arch = "bpf", feature = "frags"))]
        {
            // SAFETY: the context outlives the program.
            let all = unsafe { aya_ebpf::helpers::bpf_xdp_get_buff_len(self.ctx.cast_mut()) };
            all > (self.end - self.start) as u64
        }
        #[cfg(not(all(target_arch = "bpf", feature = "frags")))]
        false
    }
}

impl Bytes for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        read(self.start, self.end, at)
    }

    #[inline(always)]
    fn read_anew<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: the context outlives the program. Volatile, or the compiler would go on with the
        // addresses it has, and the verifier with what it knows of them.
        let (start, end) = unsafe {
            (
                ptr::read_volatile(&raw const (*self.ctx).data),
                ptr::read_volatile(&raw const (*self.ctx).data_end),
            )
        };
        read(start as usize, end as usize, at)
    }

    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        #[cfg(target_arch = "bpf")]
        {
            // SAFETY: the context outlives the program; any number does. Nothing is changed but this
            // register, twice, so that it is as before.
            unsafe {
                let any = ptr::read_volatile(&raw const (*self.ctx).rx_queue_index);
                let mut forgotten = u64::from(value);
                core::arch::asm!(
                    "{0} ^= {1}",
                    "{0} ^= {1}",
                    inout(reg) forgotten,
                    in(reg) u64::from(any),
                    options(pure, nomem, nostack)
                );
                forgotten as u32
            }
        }
        #[cfg(not(target_arch = "bpf"))]
        value
    }
}

#[inline(always)]
fn read<const N: usize>(start: usize, end: usize, at: usize) -> Option<[u8; N]> {
    let from = start + at;
    if from + N > end {
        return None;
    }
    let mut bytes = [0; N];
    let mut i = 0;
    // By halves: the compiler reads a word of unknown alignment byte by byte.
    while i + 1 < N {
        // SAFETY: the comparison above, which the verifier demands too, keeps the bytes inside the
        // frame. Frames start at even addresses and everything in them is read at even offsets; where
        // a machine cares, the verifier has checked that.
        let half = unsafe { *((from + i) as *const u16) }.to_ne_bytes();
        bytes[i] = half[0];
        bytes[i + 1] = half[1];
        i += 2;
    }
    if i < N {
        // SAFETY: as above; a byte needs no alignment.
        bytes[i] = unsafe { *((from + i) as *const u8) };
    }
    Some(bytes)
}
