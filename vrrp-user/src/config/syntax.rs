//! Messages about the structure of a file.

use super::ast::Fault;
use super::diag::{Code, Diag, Lines};
use super::model::Span;
use super::suggest::shown;

/// Says whether a file with this fault can't be relied on.
pub(super) const fn breaks(fault: &Fault) -> bool {
    !matches!(fault, Fault::NameBelow(_))
}

/// What to say about a fault.
pub(super) fn diag(fault: &Fault, lines: &Lines) -> Diag {
    let unused = "the file is not used: what belongs to which block is not certain";
    match fault {
        Fault::StrayClose(span) => {
            Diag::error(Code::Brace, span.clone(), "this `}` closes nothing")
                .now(unused)
                .hint("a `{` is missing above, or this `}` is too many")
        }
        Fault::StrayOpen(span) => {
            Diag::error(Code::Brace, span.clone(), "this `{` has no word before it")
                .now(unused)
                .hint("the block's keyword is missing, or this `{` is too many")
        }
        Fault::NoOpen { head, name, list } => {
            let message = format!("`{}` has no `{{`", shown(name));
            let hint = match name.split_once(' ').filter(|_| *list) {
                Some((word, rest)) => format!("write `{word} {{ {} }}`", shown(rest)),
                None => format!("write `{} {{`", shown(name)),
            };
            Diag::error(Code::Brace, head.clone(), message).now(unused).hint(hint)
        }
        Fault::NoClose { head, name, before, suspect } => {
            let until = match before {
                Some(before) => {
                    format!("when line {} begins another block", lines.line(before.start))
                }
                None => "at the end of the file".to_owned(),
            };
            let message = format!("`{}` is still open {until}", shown(name));
            let diag = Diag::error(Code::Brace, head.clone(), message).now(unused);
            match suspect {
                Some(suspect) => diag.hint("a `}` is missing for it").also(
                    suspect.close.clone(),
                    format!(
                        "this one closes `{}` of line {}: is one missing before it?",
                        shown(&suspect.word),
                        lines.line(suspect.head.start)
                    ),
                ),
                None => diag.hint("write the missing `}`"),
            }
        }
        Fault::TooDeep(span) => {
            Diag::error(Code::Brace, span.clone(), "blocks are nested too deep").now(unused)
        }
        Fault::NameBelow(span) => {
            let message = "the block's name stands on the line below its keyword";
            Diag::notice(Code::NameBelow, span.clone(), message)
                .now("it is read as one line; keepalived would not know the block")
        }
    }
}

/// A space that is none.
pub(super) fn odd_space(text: &str, span: Span) -> Diag {
    let which = text.get(span.clone()).and_then(|text| text.chars().next()).unwrap_or(' ');
    let message = format!("U+{:04X} only looks like a space", which as u32);
    Diag::warning(Code::OddSpace, span, message)
        .now("it is read as a space; keepalived would take it for part of the word")
        .hint("type a plain space in its place")
}
