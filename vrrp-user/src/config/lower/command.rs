//! Commands: of scripts and of `notify`.

use super::super::ast::{Word, span_of};
use super::super::diag::{Code, Diag};
use super::super::lexer::{OpenQuote, split_command};
use super::super::model::{Command, UserSpec};
use super::super::suggest::shown;
use super::Ctx;

/// The command of a `vrrp_script`. Arguments without quotes are arguments: keepalived drops them
/// and runs the program alone, which nobody means.
pub(super) fn script(ctx: &mut Ctx, words: &[Word]) -> Result<Command, Box<Diag>> {
    warn_cut(ctx, words);
    let argv = arguments(&words[0])?;
    let mut command = assemble(words, argv)?;
    if let Some(extra) = words.get(1..).filter(|extra| !extra.is_empty()) {
        command.argv.extend(extra.iter().map(|word| word.text.clone()));
        ctx.push(bare_arguments(words, extra, "drops them and runs the program alone"));
    }
    Ok(command)
}

/// A `notify` command: a text in quotes, or one word, then perhaps a user and a group.
pub(super) fn notify(ctx: &mut Ctx, words: &[Word]) -> Result<Command, Box<Diag>> {
    warn_cut(ctx, words);
    let argv = arguments(&words[0])?;
    let mut command = assemble(&words[..1], argv)?;
    let extra = &words[1..];
    if extra.is_empty() {
        return Ok(command);
    }
    if extra.len() > 3 || extra.iter().any(|word| !user_like(word)) {
        command.argv.extend(extra.iter().map(|word| word.text.clone()));
        command.text = text_of(words);
        command.span = span_of(words);
        let takes = format!("takes `{}` for the user to run it as", shown(&extra[0].text));
        ctx.push(bare_arguments(words, extra, &takes));
        return Ok(command);
    }
    command.user = user(extra);
    Ok(command)
}

/// `USER`, `USER GROUP`, `USER:GROUP` or `USER : GROUP`.
pub(super) fn user(words: &[Word]) -> Option<UserSpec> {
    let joined: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let joined = joined.join(" ");
    let (user, group) = joined.split_once([':', ' ']).unwrap_or((&joined, ""));
    let group = group.trim_start_matches([':', ' ']).trim();
    let user = user.trim();
    (!user.is_empty()).then(|| UserSpec {
        user: user.to_owned(),
        group: (!group.is_empty()).then(|| group.to_owned()),
    })
}

/// A word that can be the name of a user, and is not more likely an argument.
fn user_like(word: &Word) -> bool {
    let text = word.text.as_str();
    let state = ["master", "backup", "fault", "stop", "deleted"]
        .iter()
        .any(|s| text.eq_ignore_ascii_case(s));
    !state && !text.starts_with('-') && !text.contains(['/', '.', '=', ' '])
}

/// The program and arguments in one word. What starts with `</` is for a shell: keepalived gives
/// it to system(), and where it opens a `/dev/tcp` or `/dev/udp` only bash understands it.
fn arguments(word: &Word) -> Result<Vec<String>, Box<Diag>> {
    let text = word.text.trim();
    if text.starts_with("</") {
        let bash = text.contains("/dev/tcp/") || text.contains("/dev/udp/");
        let shell = if bash { "/bin/bash" } else { "/bin/sh" };
        return Ok(vec![shell.to_owned(), "-c".to_owned(), text.to_owned()]);
    }
    split_command(text).map_err(|OpenQuote(quote)| {
        let message = format!("nothing closes the quote `{quote}` inside the command");
        Box::new(Diag::error(Code::Quote, word.span.clone(), message))
    })
}

fn assemble(words: &[Word], argv: Vec<String>) -> Result<Command, Box<Diag>> {
    let span = span_of(words);
    if argv.first().is_none_or(String::is_empty) {
        return Err(Box::new(Diag::error(Code::Command, span, "the command is empty")));
    }
    if argv.iter().any(|arg| arg.contains(['\0', char::REPLACEMENT_CHARACTER])) {
        let message = "the command holds a byte that is not text";
        return Err(Box::new(Diag::error(Code::NotText, span, message)));
    }
    Ok(Command { argv, text: text_of(words), user: None, span })
}

fn text_of(words: &[Word]) -> String {
    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    words.join(" ")
}

fn bare_arguments(words: &[Word], extra: &[Word], keepalived: &str) -> Diag {
    Diag::warning(Code::Command, span_of(extra), "arguments outside the quotes")
        .now(format!("the command is run with them; keepalived {keepalived}"))
        .hint(format!("put the whole command in quotes: `\"{}\"`", shown(&text_of(words))))
}

/// `script /bin/check#1`: the command ends where the comment begins.
fn warn_cut(ctx: &mut Ctx, words: &[Word]) {
    if let Some(word) = words.iter().find(|word| word.cut) {
        let message = "a comment begins inside the command";
        ctx.push(
            Diag::warning(Code::CutByComment, word.span.clone(), message)
                .now("the command ends before the `#` or `!`")
                .hint("put the command in quotes, or a space before the comment"),
        );
    }
}
