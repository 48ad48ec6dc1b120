//! `authentication`.

use vrrp_common::Version;

use super::super::diag::{Code, Diag};
use super::super::suggest::shown;
use super::super::words::Place;
use super::items::{Item, first, items};
use super::{Ctx, Refusal};

/// Reads the block: the password, padded, or what its faults cost.
///
/// VRRPv3 has no authentication (RFC 9568 §9): there the block is dropped with a warning.
pub(super) fn lower(
    ctx: &mut Ctx,
    block: &Item<'_>,
    version: Version,
    lost: &str,
) -> (Option<[u8; 8]>, Vec<Refusal>) {
    if version == Version::V3 {
        ctx.push(
            Diag::warning(Code::Auth, block.head(), "VRRP version 3 has no authentication")
                .now("the block is dropped: adverts are sent and taken without, as in keepalived")
                .hint("leave it out, or write `version 2`"),
        );
        return (None, Vec::new());
    }
    let (items, mut refusals) = items(ctx, Place::Authentication, lost, block.statements());
    let mut password = None;
    let mut kind = None;
    for item in &items {
        match item.known.name {
            "auth_type" => kind = Some(item),
            _ => match pad(ctx, item) {
                Ok(bytes) => password = Some(bytes),
                Err(diag) => refusals.push(ctx.lose(diag.now(lost))),
            },
        }
    }
    refusals.extend(kind.and_then(|item| check_type(ctx, item, lost)));
    if refusals.is_empty() {
        let missing = match (kind, password) {
            (Some(_), Some(_)) => return (password, refusals),
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

fn check_type(ctx: &mut Ctx, item: &Item<'_>, lost: &str) -> Option<Refusal> {
    let word = first(item);
    let diag = match word.text.as_str() {
        "PASS" => return None,
        "AH" => Diag::error(Code::NotServed, word.span.clone(), "`auth_type AH` is not served yet"),
        other => {
            let message = format!("`{}` is no type of authentication", shown(other));
            let hint = match other.to_ascii_uppercase().as_str() {
                "PASS" | "PASSWORD" | "SIMPLE" | "PASSWD" => "write `PASS`",
                "NONE" | "OFF" | "NO" => "leave the block out",
                _ => "`PASS` is the one there is",
            };
            Diag::error(Code::BadValue, word.span.clone(), message).hint(hint)
        }
    };
    Some(ctx.lose(diag.now(lost)))
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
