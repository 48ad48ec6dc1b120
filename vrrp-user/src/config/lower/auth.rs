//! `authentication`.

use vrrp_common::Version;

use super::super::ast::Flaw;
use super::super::diag::{Code, Diag};
use super::super::lexer::is_odd_space;
use super::super::model::{Auth, Span};
use super::super::suggest::shown;
use super::super::words::Place;
use super::draft::Draft;
use super::instance::Maker;
use super::items::{Item, first, flaw_diag, items};
use super::{Ctx, Refusal};

/// Reads the block, and what its faults cost.
///
/// VRRPv3 (RFC 9568 §9) and strict mode (RFC 3768) have no authentication: there the block is dropped
/// with a warning.
pub(super) fn lower(
    maker: &mut Maker<'_>,
    draft: &mut Draft<'_>,
    version: Version,
) -> Option<Auth> {
    let blocks = std::mem::take(&mut draft.authentication);
    let block = blocks.first()?;
    for twice in &blocks[1..] {
        let diag = Diag::warning(Code::Twice, twice.head(), "`authentication` is written twice");
        let diag = diag.now("they are read as one, as in keepalived").hint("make one of them");
        maker.ctx.push(diag.also(block.head(), "the first one"));
    }
    let (message, hint) = match (version, maker.strict()) {
        (Version::V3, _) => {
            ("VRRP version 3 has no authentication", "leave it out, or write `version 2`")
        }
        (Version::V2, true) => {
            ("strict mode has no authentication", "leave it out, or take strict mode out")
        }
        (Version::V2, false) => {
            let (auth, refusals) = read(maker.ctx, &blocks, &maker.lost);
            if let Some((Auth::Ah(_), span)) = &auth {
                draft.places.insert("auth_type AH", span.clone());
            }
            draft.refusals.extend(refusals);
            return auth.map(|(auth, _)| auth);
        }
    };
    let now = "the block is dropped: adverts are sent and taken without, as in keepalived";
    maker.ctx.push(Diag::warning(Code::Auth, block.head(), message).now(now).hint(hint));
    None
}

fn read(ctx: &mut Ctx, blocks: &[Item<'_>], lost: &str) -> (Option<(Auth, Span)>, Vec<Refusal>) {
    let head = blocks.first().map(Item::head).unwrap_or_default();
    if blocks.iter().all(|block| block.statements().is_empty()) {
        let diag = Diag::warning(Code::Missing, head, "`authentication` is empty");
        let now = "adverts are sent and taken without, as in keepalived";
        let hint =
            "leave it out, or write `auth_type PASS` and `auth_pass` with the peers' password";
        ctx.push(diag.now(now).hint(hint));
        return (None, Vec::new());
    }
    let (mut all, mut refusals) = (Vec::new(), Vec::new());
    for block in blocks {
        let (some, lost) = items(ctx, Place::Authentication, lost, block.statements());
        all.extend(some);
        refusals.extend(lost);
    }
    let mut password = None;
    let mut kind = None;
    let mut make: Make = Auth::Pass;
    for item in &all {
        match item.known.name {
            "auth_type" => kind = Some(item),
            _ => match pad(ctx, item) {
                Ok(bytes) => password = Some(bytes),
                Err(diag) => refusals.push(ctx.lose(diag.now(lost))),
            },
        }
    }
    if let Some(item) = kind {
        match kind_of(item) {
            Ok(found) => make = found,
            Err(diag) => refusals.push(ctx.lose(diag.now(lost))),
        }
    }
    if refusals.is_empty() {
        let missing = match (kind, password) {
            (Some(kind), Some(password)) => {
                return (Some((make(password), first(kind).span.clone())), refusals);
            }
            (None, Some(_)) => "`auth_pass` without `auth_type`",
            (Some(_), None) => "`auth_type` without `auth_pass`",
            (None, None) => "`authentication` without `auth_type` and `auth_pass`",
        };
        let diag = Diag::error(Code::Missing, head, missing).now(lost);
        let hint = "write `auth_type PASS` and `auth_pass` with the peers' password";
        refusals.push(ctx.lose(diag.hint(hint)));
    }
    (None, refusals)
}

/// What a type of authentication makes of a password.
type Make = fn([u8; 8]) -> Auth;

fn kind_of(item: &Item<'_>) -> Result<Make, Box<Diag>> {
    let word = first(item);
    match word.text.as_str() {
        "PASS" => Ok(Auth::Pass),
        "AH" => Ok(Auth::Ah),
        other => {
            let message = format!("`{}` is no type of authentication", shown(other));
            let hint = match other.to_ascii_uppercase().as_str() {
                "PASS" | "PASSWORD" | "SIMPLE" | "PASSWD" => "write `PASS`",
                "AH" | "IPSEC" | "IPSEC_AH" => "write `AH`",
                "NONE" | "OFF" | "NO" => "leave the block out",
                _ => "write `PASS` or `AH`",
            };
            Err(Box::new(Diag::error(Code::BadValue, word.span.clone(), message).hint(hint)))
        }
    }
}

/// A password as keepalived reads it.
struct Password<'t> {
    text: &'t str,
    /// A comment ends it.
    cut: bool,
    /// It is other than a shell would read it, and seen to be.
    odd: bool,
}

/// What stands behind `auth_pass`: from `"` to the next one, else up to a space, a `"`, a brace or a
/// comment. Nothing else has a meaning, neither `'` nor a backslash. `None`: nothing closes the quote.
fn password(rest: &str) -> Option<Password<'_>> {
    let line = rest.lines().next().unwrap_or_default();
    if let Some(inner) = line.strip_prefix('"') {
        let (text, after) = inner.split_once('"')?;
        let ends = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '#' | '!');
        return Some(Password {
            text,
            cut: false,
            odd: !after.is_empty() && !after.starts_with(ends),
        });
    }
    let mut chars = line.char_indices().peekable();
    let mut stop = None;
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        match c {
            // keepalived takes the backslash away, and at its second reading the comment.
            '\\' if matches!(next, Some('#' | '!')) => stop = Some((at, '#')),
            '\\' if next == Some('\\') => {
                chars.next();
            }
            '"' | '{' | '}' | '#' | '!' => stop = Some((at, c)),
            c if c.is_whitespace() || is_odd_space(c) => stop = Some((at, c)),
            _ => {}
        }
        if stop.is_some() {
            break;
        }
    }
    let (end, by) = stop.unwrap_or((line.len(), ' '));
    let text = &line[..end];
    let odd = by == '"' || text.starts_with('\'');
    Some(Password { text, cut: matches!(by, '#' | '!'), odd })
}

/// The first eight bytes, padded with zeros (RFC 2338 §5.3.10). No message quotes them.
fn pad(ctx: &mut Ctx, item: &Item<'_>) -> Result<[u8; 8], Box<Diag>> {
    let word = first(item);
    let (text, cut, odd) = match password(ctx.from(word)) {
        Some(Password { text, cut, odd }) => (text.to_owned(), cut, odd),
        None => return Err(Box::new(flaw_diag(word, Flaw::OpenQuote('"')))),
    };
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Box::new(flaw_diag(word, Flaw::NotText)));
    }
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        let message = "`auth_pass` is empty";
        return Err(Box::new(Diag::error(Code::BadValue, word.span.clone(), message)));
    }
    let warning = |code, message| Diag::warning(code, word.span.clone(), message);
    if cut {
        ctx.push(
            warning(Code::CutByComment, "a comment begins inside the password")
                .now("the password ends before the `#` or `!`, as in keepalived")
                .hint("put it in `\"` if the sign belongs to it, or a space before the comment"),
        );
    }
    if odd {
        ctx.push(
            warning(Code::Quote, "quotes in a password")
                .now("a `'` is part of it, and a `\"` ends it, as in keepalived")
                .hint("put all of it in `\"`, or take the quotes out, on all routers"),
        );
    }
    if bytes.len() > 8 {
        ctx.push(
            warning(Code::Changed, "the password is longer than 8 bytes")
                .now("its first 8 bytes are used, as in keepalived")
                .hint("an advert holds 8 bytes: leave the rest out"),
        );
    }
    let mut padded = [0; 8];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// What keepalived 2.2.7 says of each in its dump.
    #[rstest]
    #[case("plain # why", "plain")]
    #[case(r#""p@$$\w0""#, r"p@$$\w0")]
    #[case(r"a\\b", r"a\\b")]
    #[case(r#""a\\b""#, r"a\\b")]
    #[case("a'b'c", "a'b'c")]
    #[case("'abc'", "'abc'")]
    #[case(r#""ab"cd"#, "ab")]
    #[case(r"a\#b", "a")]
    #[case(r"a\!b", "a")]
    #[case(r"a\\#b", r"a\\")]
    #[case(r"a\ b", r"a\")]
    #[case("'a#b'", "'a")]
    #[case(r##""a#b""##, "a#b")]
    #[case(r##"ab"c#d"e"##, "ab")]
    #[case(r#""a\"b""#, r"a\")]
    #[case("a{b", "a")]
    #[case("a}b", "a")]
    #[case(r#""a b" c"#, "a b")]
    #[case("'a b'", "'a")]
    #[case("a\\\nb", "a\\")]
    fn passwords_are_as_keepalived_reads_them(#[case] written: &str, #[case] read: &str) {
        assert_eq!(password(written).map(|password| password.text), Some(read));
    }

    #[test]
    fn an_open_quote_is_no_password() {
        assert!(password("\"abc\n\"").is_none());
    }
}
