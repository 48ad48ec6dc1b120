//! Words that nobody knows: what was meant, and what the slip costs.

use super::super::ast::{Block, Word};
use super::super::diag::{Code, Diag};
use super::super::suggest::{nearest, shown};
use super::super::words::{self, Class, Known, Place};
use super::{Ctx, Refusal};

/// Reports a word that its place does not know. Returns what it costs, where it was to be a word
/// that an instance depends on.
pub(super) fn word(
    ctx: &mut Ctx,
    place: Place,
    lost: &str,
    words: &[Word],
    block: Option<&Block>,
) -> Option<Refusal> {
    let key = &words[0];
    if key.text.starts_with("//") && !key.quoted {
        let diag = super::extra_words(words, "nothing else is on the line");
        ctx.push(diag);
        return None;
    }
    let guess = guess(place, words, block);
    let vital = guess.meant.is_some_and(|known| known.vital);
    let now = if vital { lost } else { "the line is ignored" };
    let diag =
        Diag::error(guess.code, key.span.clone(), guess.message).now(now).hint_if(guess.hint);
    if vital {
        return Some(ctx.lose(diag));
    }
    ctx.push(diag);
    None
}

/// What a word was probably to be.
struct Guess {
    code: Code,
    message: String,
    hint: Option<String>,
    meant: Option<&'static Known>,
}

fn guess(place: Place, words: &[Word], block: Option<&Block>) -> Guess {
    let key = words[0].text.as_str();
    let of = if place == Place::Root { "" } else { "of " };
    // What stands in `authentication` may be a password, and is not for the log.
    let word = if place == Place::Authentication { "this" } else { &format!("`{}`", shown(key)) };
    let message = format!("{word} is not a keyword {of}{place}");
    let did = |known: &'static Known, hint: String| Guess {
        code: Code::UnknownWord,
        message: message.clone(),
        hint: Some(hint),
        meant: Some(known),
    };
    if let Some((left, right, sign)) = glued_sign(key)
        && let Some(known) = resolve(place, left)
    {
        let value = if right.is_empty() { rest_of(words) } else { right.to_owned() };
        let value = if known.name == "auth_pass" { "…".to_owned() } else { shown(&value) };
        let line = format!("{} {value}", known.name);
        return Guess {
            message: format!("`{}{sign}` is not a keyword {of}{place}", shown(left)),
            ..did(known, format!("write it without `{sign}`: `{}`", line.trim_end()))
        };
    }
    if let Some(known) = words::lookup(place, &key.to_ascii_lowercase()) {
        return did(known, format!("keywords are case-sensitive: `{}`", known.name));
    }
    if let Some(known) = words::alias(place, key) {
        return did(known, format!("did you mean `{}`?", known.name));
    }
    if let Some(known) = counterpart(place, key) {
        return did(known, format!("here it is called `{}`", known.name));
    }
    if let Some(known) = words::anywhere(key) {
        return wrong_place(place, known);
    }
    if let Some(known) = near(place, key) {
        return did(known, format!("did you mean `{}`?", known.name));
    }
    // A word of another block, misspelled too: one more reason not to run what it was to change.
    let elsewhere = [Place::Instance, Place::Authentication, Place::Script];
    let meant =
        elsewhere.into_iter().filter(|_| place != Place::Global).find_map(|at| near(at, key));
    let hint = meant
        .map(|known| format!("did you mean `{}`, which belongs in {}?", known.name, known.place))
        .or_else(|| look_at_braces(place, block));
    Guess { code: Code::UnknownWord, message, hint, meant: meant.filter(|_| place != Place::Root) }
}

fn wrong_place(place: Place, known: &'static Known) -> Guess {
    let within = if place == Place::Root { "" } else { "in " };
    let message = format!("`{}` stands {within}{place}", known.name);
    let hint = if known.place == Place::Root {
        format!("`{}` stands outside all blocks: is a `}}` missing above?", known.name)
    } else {
        format!("it belongs in {}: look at the braces above", known.place)
    };
    // What is not followed anyway costs nothing where it stands wrong.
    let meant = match known.class {
        Class::Served | Class::Refused(_) => Some(known),
        Class::Ignored | Class::Later(_) => None,
    };
    Guess { code: Code::WrongPlace, message, hint: Some(hint), meant }
}

fn look_at_braces(place: Place, block: Option<&Block>) -> Option<String> {
    (place == Place::Root && block.is_none())
        .then(|| "only blocks stand outside all blocks: look at the braces above".to_owned())
}

/// `priority=100`, `priority:`, `nopreempt;`: the word, what is behind the sign, and the sign.
fn glued_sign(key: &str) -> Option<(&str, &str, char)> {
    let at = key.find(['=', ':', ';', ','])?;
    let sign = key[at..].chars().next()?;
    Some((&key[..at], &key[at + sign.len_utf8()..], sign))
}

fn rest_of(words: &[Word]) -> String {
    let rest: Vec<&str> = words[1..].iter().map(|word| word.text.as_str()).collect();
    rest.join(" ")
}

/// The keyword a text is, or nearly is.
fn resolve(place: Place, text: &str) -> Option<&'static Known> {
    words::lookup(place, text).or_else(|| words::alias(place, text)).or_else(|| near(place, text))
}

fn near(place: Place, text: &str) -> Option<&'static Known> {
    let name = nearest(text, words::in_place(place).map(|known| known.name))?;
    words::lookup(place, name)
}

/// `vrrp_garp_master_delay` in an instance, `garp_master_delay` in `global_defs`.
fn counterpart(place: Place, key: &str) -> Option<&'static Known> {
    let known = match place {
        Place::Instance => words::lookup(place, key.strip_prefix("vrrp_")?),
        Place::Global => words::lookup(place, &format!("vrrp_{key}")),
        Place::Root | Place::Script | Place::Authentication | Place::SyncGroup => None,
    };
    // `vrrp_priority` is a nice value: not what a `priority` in `global_defs` is about.
    known.filter(|known| known.class != Class::Ignored && known.name != "vrrp_priority")
}
