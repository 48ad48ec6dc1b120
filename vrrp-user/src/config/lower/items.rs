//! The statements of a block, checked for shape, and what becomes of each word.

use super::super::ast::{Block, Flaw, Statement, Word, span_of};
use super::super::diag::{Code, Diag};
use super::super::model::Span;
use super::super::suggest::shown;
use super::super::value;
use super::super::words::{self, Class, Known, Place, Takes};
use super::{Ctx, Refusal, extra_words, unknown};

/// A statement whose keyword is known and served.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    /// The keyword.
    pub(super) known: &'static Known,
    /// Where it stands.
    pub(super) key: &'a Word,
    /// What stands behind it.
    pub(super) args: &'a [Word],
    /// Its block.
    pub(super) block: Option<&'a Block>,
}

impl<'a> Item<'a> {
    /// From the keyword to the last word behind it.
    pub(super) fn head(&self) -> Span {
        let end = self.args.last().map_or(self.key.span.end, |word| word.span.end);
        self.key.span.start..end
    }

    /// The statements of its block.
    pub(super) fn statements(&self) -> &'a [Statement] {
        self.block.map_or(&[], |block| &block.items)
    }
}

/// Goes through a block's statements: returns those that are served and well-formed, and what the
/// faults of the others cost. `lost` says what is lost with a vital word.
pub(super) fn items<'a>(
    ctx: &mut Ctx,
    place: Place,
    lost: &str,
    statements: &'a [Statement],
) -> (Vec<Item<'a>>, Vec<Refusal>) {
    let mut items = Vec::new();
    let mut refusals = Vec::new();
    for statement in statements {
        let parts = split(ctx, place, &statement.words);
        let last = parts.len() - 1;
        for (i, words) in parts.into_iter().enumerate() {
            let block = statement.block.as_ref().filter(|_| i == last);
            match sift(ctx, place, lost, words, block) {
                Sifted::Item(item) => items.push(item),
                Sifted::Lost(refusal) => refusals.push(refusal),
                Sifted::Nothing => {}
            }
        }
    }
    (items, refusals)
}

/// What it means to a peer that it reads less of the same file.
pub(super) const REFUSES: &str = ": a keepalived peer with this file refuses the adverts";

enum Sifted<'a> {
    Item(Item<'a>),
    Lost(Refusal),
    Nothing,
}

/// `auth_type PASS auth_pass 1111` on one line: two statements, though keepalived sees one.
fn split<'a>(ctx: &mut Ctx, place: Place, words: &'a [Word]) -> Vec<&'a [Word]> {
    let mut parts = Vec::new();
    let mut rest = words;
    while let Some(known) = words::lookup(place, &rest[0].text) {
        let least = match known.takes {
            Takes::Flag | Takes::Bool => 0,
            Takes::Values(least, _) => least,
            Takes::Line | Takes::Block | Takes::Named | Takes::Anything => break,
        };
        let next = rest
            .iter()
            .skip(1 + least)
            .position(|word| !word.quoted && words::lookup(place, &word.text).is_some());
        let Some(at) = next.map(|at| at + 1 + least) else { break };
        let key = &rest[at];
        let message = format!("`{}` stands on the line of `{}`", key.text, rest[0].text);
        let peers = if place == Place::Authentication { REFUSES } else { "" };
        ctx.push(
            Diag::warning(Code::OneLine, key.span.clone(), message)
                .now(format!("both are read; keepalived would ignore `{}`{peers}", key.text))
                .hint("give it a line of its own"),
        );
        parts.push(&rest[..at]);
        rest = &rest[at..];
    }
    parts.push(rest);
    parts
}

fn sift<'a>(
    ctx: &mut Ctx,
    place: Place,
    lost: &str,
    words: &'a [Word],
    block: Option<&'a Block>,
) -> Sifted<'a> {
    let (key, args) = (&words[0], &words[1..]);
    let Some(known) = words::lookup(place, &key.text).filter(|_| !key.quoted) else {
        let flawed = flawed(words, block).map(|(word, flaw)| flaw_diag(word, flaw).now(lost));
        let refusal = match flawed {
            Some(diag) => Some(ctx.lose(diag)),
            None => unknown::word(ctx, place, lost, words, block),
        };
        return refusal.map_or(Sifted::Nothing, Sifted::Lost);
    };
    let item = Item { known, key, args, block };
    if known.takes == Takes::Block && block.is_none() {
        // The missing brace has had its message, and the file is not used.
        return Sifted::Nothing;
    }
    let fault = match known.class {
        Class::Ignored => return Sifted::Nothing,
        Class::Later(effect) => {
            if !is_off(&item) {
                let message = format!("`{}` is not served yet", known.name);
                ctx.push(Diag::notice(Code::NotServed, item.head(), message).now(effect));
            }
            return Sifted::Nothing;
        }
        Class::Refused(what) if !is_off(&item) => {
            let message = format!("`{}` is not served yet ({what})", known.name);
            Some(
                Diag::error(Code::NotServed, item.head(), message)
                    .hint_if(words::instead(known.name)),
            )
        }
        Class::Refused(_) => return Sifted::Nothing,
        Class::Served => shape(ctx, &item),
    };
    match fault {
        None => Sifted::Item(item),
        Some(diag) if known.vital => {
            let own = words::own(known.name).filter(|_| place == Place::Global);
            let own = own.map(|own| format!("only instances with a `{own}` of their own are run"));
            let mut refusal = ctx.lose(diag.now(own.as_deref().unwrap_or(lost)));
            refusal.word = known.name;
            Sifted::Lost(refusal)
        }
        Some(diag) => {
            ctx.push(diag.now(format!("`{}` keeps its default", known.name)));
            Sifted::Nothing
        }
    }
}

/// A switch that is not served, and is off; or an empty block, as templates make them.
fn is_off(item: &Item<'_>) -> bool {
    let empty = item.args.is_empty() && item.block.is_some_and(|block| block.items.is_empty());
    empty || item.known.takes == Takes::Bool && value::switch(item.args.first()) == Ok(false)
}

/// Checks the number of words and the block. The text of the fault is returned.
fn shape(ctx: &mut Ctx, item: &Item<'_>) -> Option<Diag> {
    let name = item.known.name;
    // A password has rules of its own.
    let own = |flaw: Flaw| name == "auth_pass" && !matches!(flaw, Flaw::CurlyQuote(_));
    if let Some((word, flaw)) = flawed_words(item.args).filter(|(_, flaw)| !own(*flaw)) {
        return Some(flaw_diag(word, flaw));
    }
    if let Some(sign) = item.args.first().filter(|word| matches!(word.text.as_str(), "=" | ":")) {
        let message = format!("`{}` between `{name}` and its value", sign.text);
        let value = item.args.get(1).map_or("", |word| secret(name, &word.text));
        return Some(Diag::error(Code::BadValue, item.head(), message).hint(format!(
            "write it without `{}`: `{name} {}`",
            sign.text,
            shown(value)
        )));
    }
    let (least, most, block) = match item.known.takes {
        Takes::Flag => (0, 0, false),
        Takes::Bool => (0, 1, false),
        Takes::Values(least, most) => (least, most, false),
        Takes::Line => (1, usize::MAX, false),
        Takes::Block => (0, 0, true),
        Takes::Named | Takes::Anything => return None,
    };
    if item.block.is_some() && !block {
        let message = format!("`{name}` takes no block");
        return Some(Diag::error(Code::Brace, item.head(), message));
    }
    if item.args.len() < least {
        let message = format!("`{name}` has no value");
        let hint = "write the value behind it, on the same line";
        return Some(Diag::error(Code::NoValue, item.key.span.clone(), message).hint(hint));
    }
    let extra = item.args.get(most..).filter(|extra| !extra.is_empty())?;
    if block && item.known.vital && !extra[0].text.starts_with("//") {
        let message = format!("`{}` stands before the `{{` of `{name}`", shown(&extra[0].text));
        let hint = "put it inside the braces";
        return Some(Diag::error(Code::ExtraWords, span_of(extra), message).hint(hint));
    }
    let kept: Vec<&str> = item.args[..most].iter().map(|word| secret(name, &word.text)).collect();
    let now = if kept.is_empty() {
        format!("`{name}` counts")
    } else {
        format!("`{name} {}` counts", shown(&kept.join(" ")))
    };
    ctx.push(extra_words(extra, &now));
    None
}

/// The value of a password is not for the log.
fn secret<'w>(name: &str, value: &'w str) -> &'w str {
    if name == "auth_pass" { "…" } else { value }
}

/// The first misspelled word of a statement and its block.
fn flawed<'a>(words: &'a [Word], block: Option<&'a Block>) -> Option<(&'a Word, Flaw)> {
    flawed_words(words).filter(|_| block.is_none())
}

pub(super) fn flawed_words(words: &[Word]) -> Option<(&Word, Flaw)> {
    words.iter().find_map(|word| word.flaw.map(|flaw| (word, flaw)))
}

/// What is wrong with the spelling of a word.
pub(super) fn flaw_diag(word: &Word, flaw: Flaw) -> Diag {
    let span = word.span.clone();
    match flaw {
        Flaw::OpenQuote(quote) => Diag::error(
            Code::Quote,
            span,
            format!("nothing closes the quote `{quote}` on this line"),
        )
        .hint(format!("write the closing `{quote}` before the end of the line")),
        Flaw::NotText => Diag::error(Code::NotText, span, "a byte that is not UTF-8 text")
            .hint("only comments may hold other encodings: save the file as UTF-8"),
        Flaw::CurlyQuote(quote) => {
            let message = format!("`{quote}` (U+{:04X}) is no quote here", quote as u32);
            Diag::error(Code::Quote, span, message).hint("use the straight ones, `\"` or `'`")
        }
    }
}

/// A value that is none, as a message.
pub(super) fn bad_value(item: &Item<'_>, bad: value::Bad) -> Diag {
    let span = item.args.first().map_or(&item.key.span, |word| &word.span).clone();
    Diag::error(Code::BadValue, span, format!("`{}`: {}", item.known.name, bad.message))
        .hint_if(bad.hint)
}

/// The first word behind the keyword.
pub(super) fn first<'a>(item: &Item<'a>) -> &'a Word {
    item.args.first().unwrap_or(item.key)
}

/// What is said of a word that counted before already.
pub(super) fn first_counts(item: &Item<'_>, before: Span) -> Diag {
    let message = format!("`{}` is written twice", item.known.name);
    let diag = Diag::warning(Code::Twice, item.head(), message);
    diag.now("the first one counts, as in keepalived").also(before, "the first one")
}

/// Sets what can be said once; the first one counts, as in keepalived.
pub(super) fn set_first<T>(ctx: &mut Ctx, slot: &mut Option<(T, Span)>, value: T, item: &Item<'_>) {
    match slot {
        Some((_, before)) => ctx.push(first_counts(item, before.clone())),
        None => *slot = Some((value, item.head())),
    }
}

/// Sets what can be said once; the last one counts, as in keepalived.
pub(super) fn set<T>(ctx: &mut Ctx, slot: &mut Option<(T, Span)>, value: T, item: &Item<'_>) {
    if let Some((_, before)) = slot.replace((value, item.head())) {
        let message = format!("`{}` is written twice", item.known.name);
        ctx.push(
            Diag::warning(Code::Twice, item.head(), message)
                .now("the last one counts, as in keepalived")
                .hint("leave one of them out")
                .also(before, "the first one"),
        );
    }
}
