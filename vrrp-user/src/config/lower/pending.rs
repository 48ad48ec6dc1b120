//! What is read but not done yet.
//!
//! An instance that would send or hold something else than was written is not run. Each such thing is
//! one line here, which goes when it is done.

use super::super::diag::{Code, Diag};
use super::super::model::{Instance, Span};

/// Something that is not done yet.
pub(super) struct Pending {
    /// What, in words.
    pub(super) what: &'static str,
    /// The keywords that ask for it: the message names the one that is written. Without any it is
    /// about the addresses.
    words: &'static [&'static str],
    /// What to write instead.
    hint: Option<&'static str>,
    /// Says whether an instance needs it.
    needed: fn(&Instance) -> bool,
}

impl Pending {
    const fn refuse(
        what: &'static str,
        words: &'static [&'static str],
        needed: fn(&Instance) -> bool,
    ) -> Self {
        Self { what, words, hint: None, needed }
    }

    const fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// All of it. Whoever makes one work deletes its line.
pub(super) const PENDING: &[Pending] =
    &[Pending::refuse("without `interface`", &["unicast_src_ip", "mcast_src_ip"], |one| {
        one.interface.is_empty()
    })
    .hint("write `interface` and the link that has the address")];

/// What an instance needs and is not done yet: errors, each of which costs the instance.
///
/// `written` knows where a keyword is written, `addresses` is where the first address is.
pub(super) fn pending(
    instance: &Instance,
    addresses: &Span,
    written: impl Fn(&str) -> Option<Span>,
) -> Vec<Diag> {
    let mut diags: Vec<Diag> = Vec::new();
    for pending in PENDING.iter().filter(|pending| (pending.needed)(instance)) {
        let word = pending.words.iter().find_map(|word| Some((*word, written(word)?)));
        let (span, message) = match word {
            Some((word, span)) => (span, format!("`{word}` is not served yet ({})", pending.what)),
            None => (addresses.clone(), format!("{} is not served yet", pending.what)),
        };
        // Strict mode needs several things, and is said once.
        if diags.iter().any(|diag| diag.span == span) {
            continue;
        }
        diags.push(Diag::error(Code::NotServed, span, message).hint_if(pending.hint));
    }
    diags
}
