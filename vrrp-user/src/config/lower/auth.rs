//! `authentication`.

use vrrp_common::Version;

use super::super::diag::{Code, Diag};
use super::super::model::{Auth, Span};
use super::super::suggest::shown;
use super::super::words::Place;
use super::draft::Draft;
use super::instance::Maker;
use super::items::{Item, first, items};
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
    let (block, _) = draft.authentication.take()?;
    let (message, hint) = match (version, maker.strict()) {
        (Version::V3, _) => {
            ("VRRP version 3 has no authentication", "leave it out, or write `version 2`")
        }
        (Version::V2, true) => {
            ("strict mode has no authentication", "leave it out, or take strict mode out")
        }
        (Version::V2, false) => {
            let (auth, refusals) = read(maker.ctx, &block, &maker.lost);
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

fn read(ctx: &mut Ctx, block: &Item<'_>, lost: &str) -> (Option<(Auth, Span)>, Vec<Refusal>) {
    let (items, mut refusals) = items(ctx, Place::Authentication, lost, block.statements());
    let mut password = None;
    let mut kind = None;
    let mut make: Make = Auth::Pass;
    for item in &items {
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
        let diag = Diag::error(Code::Missing, block.head(), missing).now(lost);
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

/// The first eight bytes, padded with zeros (RFC 2338 §5.3.10). No message quotes them.
fn pad(ctx: &mut Ctx, item: &Item<'_>) -> Result<[u8; 8], Box<Diag>> {
    let word = first(item);
    let bytes = word.text.as_bytes();
    if bytes.is_empty() {
        let message = "`auth_pass` is empty";
        return Err(Box::new(Diag::error(Code::BadValue, word.span.clone(), message)));
    }
    if word.cut {
        ctx.push(
            Diag::warning(
                Code::CutByComment,
                word.span.clone(),
                "a comment begins inside the password",
            )
            .now("the password ends before the `#` or `!`, as in keepalived")
            .hint("put it in quotes if the sign belongs to it, or a space before the comment"),
        );
    }
    if bytes.len() > 8 {
        ctx.push(
            Diag::warning(Code::Changed, word.span.clone(), "the password is longer than 8 bytes")
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
