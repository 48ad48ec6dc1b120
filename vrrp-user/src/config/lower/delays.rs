//! `interface_up_down_delays`: how long a link's change must last.

use std::collections::BTreeMap;

use vrrp_proto::settings::Delays;

use super::super::ast::{Statement, Word};
use super::super::diag::{Code, Diag};
use super::super::model::Span;
use super::super::suggest::shown;
use super::super::value::{Bad, interface, seconds};
use super::items::{Item, flaw_diag, flawed_words};
use super::{Ctx, extra_words};

/// The longest delay, in seconds.
const LONGEST: u64 = 255;

/// The delays by interface, as far as they could be read.
pub(super) type LinkDelays = BTreeMap<String, Delays>;

/// Reads all the blocks as if they were one.
pub(super) fn lower(ctx: &mut Ctx, blocks: &[Item<'_>]) -> LinkDelays {
    let mut read: BTreeMap<String, (Delays, Span)> = BTreeMap::new();
    for statement in blocks.iter().flat_map(Item::statements) {
        let Some((name, delays)) = line(ctx, statement) else { continue };
        let span = statement.head();
        if let Some((_, before)) = read.insert(name.clone(), (delays, span.clone())) {
            let message = format!("`{}` has two delays", shown(&name));
            let diag = Diag::warning(Code::Twice, span, message).now("the last one counts");
            ctx.push(diag.also(before, "the first one"));
        }
    }
    read.into_iter().map(|(name, (delays, _))| (name, delays)).collect()
}

/// `INTERFACE DOWN [UP]`.
fn line(ctx: &mut Ctx, statement: &Statement) -> Option<(String, Delays)> {
    const NOW: &str = "the interface's changes count at once";
    if let Some((word, flaw)) = flawed_words(&statement.words) {
        ctx.push(flaw_diag(word, flaw).now(NOW));
        return None;
    }
    let (name, values) = (&statement.words[0], &statement.words[1..]);
    let (down, up, extra) = match values {
        [] => {
            let message = format!("`{}` has no delay", shown(&name.text));
            let diag = Diag::error(Code::NoValue, name.span.clone(), message).now(NOW);
            ctx.push(diag.hint("write `INTERFACE DOWN [UP]`, in seconds"));
            return None;
        }
        [down] => (down, down, &values[1..]),
        [down, up, ..] if up.text.starts_with("//") => (down, down, &values[1..]),
        [down, up, extra @ ..] => (down, up, extra),
    };
    let delays = read(name, down, up);
    if !extra.is_empty() {
        ctx.push(extra_words(extra, "the delays before it count"));
    }
    match delays {
        Ok(delays) => Some(delays),
        Err((word, bad)) => {
            let diag = Diag::error(Code::BadValue, word.span.clone(), bad.message);
            ctx.push(diag.now(NOW).hint_if(bad.hint));
            None
        }
    }
}

/// The values of a line, or which of its words is none.
fn read<'w>(
    name: &'w Word,
    down: &'w Word,
    up: &'w Word,
) -> Result<(String, Delays), (&'w Word, Bad)> {
    let time = |word: &'w Word| seconds(word, LONGEST).map_err(|bad| (word, bad));
    let name = interface(name).map_err(|bad| (name, bad))?;
    Ok((name, Delays { down: time(down)?, up: time(up)? }))
}
