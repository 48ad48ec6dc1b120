//! A judgement in one register, from one function of the kernel's to another.

use vrrp_common::Reject;
use vrrp_common::abi::COUNTERS_PER_SLOT;
use vrrp_common::check::{Agreement, Checked, Judgement};
use vrrp_common::wire::ChecksumForm;

const NOT_OURS: u64 = 0;
const STRANGER: u64 = 1;
const UNFINISHED: u64 = 2;
const REFUSED: u64 = 3;
const ACCEPTED: u64 = 4;

// What it is in the lowest byte; then a reason or a priority, an interval, and what is said by few bits;
// the slot in the upper half.
const BYTE: u32 = 8;
const INTERVAL: u32 = 16;
const SLOT: u32 = 40;
const FORM: u32 = 32;
const AGREEMENT: u32 = 33;
const LISTED: u32 = 35;

/// Keeps a reason's number, and tells the verifier that there is a counter for it.
const COUNTERS: u32 = COUNTERS_PER_SLOT - 1;
const _: () = assert!(COUNTERS_PER_SLOT.is_power_of_two());

/// Packs a judgement.
#[inline(always)]
pub(crate) const fn pack(judgement: &Judgement) -> u64 {
    match judgement {
        Judgement::NotOurs => NOT_OURS,
        Judgement::Stranger => STRANGER,
        Judgement::Unfinished { slot } => UNFINISHED | (*slot as u64) << SLOT,
        Judgement::Ours { slot, verdict: Err(reason) } => {
            REFUSED | (reason.index() as u64) << BYTE | (*slot as u64) << SLOT
        }
        Judgement::Ours { slot, verdict: Ok(checked) } => {
            ACCEPTED
                | (checked.priority as u64) << BYTE
                | (checked.interval as u64) << INTERVAL
                | (checked.form as u64) << FORM
                | (checked.agreement as u64) << AGREEMENT
                | (checked.listed as u64) << LISTED
                | (*slot as u64) << SLOT
        }
    }
}

/// What [`pack`] packed.
#[inline(always)]
pub(crate) fn unpack(packed: u64) -> Judgement {
    let slot = (packed >> SLOT) as u32;
    match packed as u8 as u64 {
        STRANGER => Judgement::Stranger,
        UNFINISHED => Judgement::Unfinished { slot },
        REFUSED => match Reject::from_index((packed >> BYTE) as u32 & COUNTERS) {
            Some(reason) => Judgement::Ours { slot, verdict: Err(reason) },
            None => Judgement::NotOurs,
        },
        ACCEPTED => {
            let checked = Checked {
                priority: (packed >> BYTE) as u8,
                interval: (packed >> INTERVAL) as u16,
                form: ChecksumForm::from_index((packed >> FORM) as u8 & 1),
                agreement: Agreement::from_index((packed >> AGREEMENT) as u8 & 3),
                listed: (packed >> LISTED) & 1 != 0,
            };
            Judgement::Ours { slot, verdict: Ok(checked) }
        }
        _ => Judgement::NotOurs,
    }
}
