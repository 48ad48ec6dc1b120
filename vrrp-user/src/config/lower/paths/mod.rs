//! `virtual_routes` and `virtual_rules`.

mod line;
mod measure;
mod names;
mod route;
mod rule;

use std::fmt::Display;

use vrrp_common::Family;
use vrrp_proto::Paths;

use super::super::ast::{Statement, Word, span_of};
use super::super::diag::{Code, Diag};
use super::super::model::Span;
use super::draft::Draft;
use super::extra_words;
use super::instance::Maker;
use super::items::{Item, flaw_diag, flawed_words};
use line::{Line, Read};

/// The most routes, and the most rules, of an instance: all go on in one turn of the thread that also has the
/// addresses.
const MOST: usize = 1000;

/// An interface that a route or a rule names, and where.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// Its name.
    pub(super) name: String,
    /// Where it is written.
    pub(super) span: Span,
    /// It is put back, and the instance can't be without the interface.
    pub(super) tracked: bool,
}

impl Device {
    fn new(word: &Word, tracked: bool) -> Self {
        Self { name: word.text.clone(), span: word.span.clone(), tracked }
    }
}

/// The preferences of rules without one, over a whole file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preferences {
    next: [u32; 2],
}

impl Preferences {
    /// The first one; the next is one less, as in keepalived.
    const FIRST: u32 = 16384;

    fn take(&mut self, family: Family) -> u32 {
        let next = match family {
            Family::V4 => &mut self.next[0],
            Family::V6 => &mut self.next[1],
        };
        let taken = *next;
        *next = next.saturating_sub(1).max(1);
        taken
    }
}

impl Default for Preferences {
    fn default() -> Self {
        Self { next: [Self::FIRST; 2] }
    }
}

/// Of one kind, with where each is written.
type All<T> = Vec<(T, Span)>;

impl Maker<'_> {
    /// What the instance routes by, and the interfaces that it names.
    pub(super) fn paths(&mut self, draft: &mut Draft<'_>) -> (Paths, Vec<Device>) {
        let mut devices = Vec::new();
        let blocks = std::mem::take(&mut draft.routes);
        let routes = self.lines(draft, &blocks, |line, _| {
            let (route, own) = route::read(line)?;
            devices.extend(own);
            Ok(route)
        });
        let blocks = std::mem::take(&mut draft.rules);
        let rules = self.lines(draft, &blocks, |line, preferences| {
            let (rule, own) = rule::read(line, preferences)?;
            devices.extend(own);
            Ok(rule)
        });
        let routes = self.each_once(draft, "route", routes);
        let rules = self.each_once(draft, "rule", rules);
        (Paths { routes, rules }, devices)
    }

    fn lines<T>(
        &mut self,
        draft: &mut Draft<'_>,
        blocks: &[Item<'_>],
        mut read: impl FnMut(&mut Line<'_>, &mut Preferences) -> Read<T>,
    ) -> All<T> {
        let mut all = Vec::new();
        for block in blocks {
            for statement in block.statements() {
                let Some(words) = self.path_words(draft, block, statement) else { continue };
                let mut line = Line::new(words);
                let read = read(&mut line, &mut self.ctx.preferences);
                self.ctx.diags.append(&mut line.said);
                match read {
                    Ok(one) => all.push((one, span_of(words))),
                    Err(diag) => self.lose(draft, *diag),
                }
            }
        }
        all
    }

    /// The words of a line, but for what is meant as a comment.
    fn path_words<'a>(
        &mut self,
        draft: &mut Draft<'_>,
        block: &Item<'_>,
        statement: &'a Statement,
    ) -> Option<&'a [Word]> {
        if statement.block.is_some() {
            let message = format!("a block inside `{}`", block.known.name);
            let diag = Diag::error(Code::Brace, statement.head(), message);
            self.lose(draft, diag.hint("one stands on each line here: look at the braces"));
            return None;
        }
        let comment = |word: &Word| word.text.starts_with("//") && !word.quoted;
        let end = statement.words.iter().position(comment).unwrap_or(statement.words.len());
        let (words, comment) = statement.words.split_at(end);
        if !comment.is_empty() {
            self.ctx.push(extra_words(comment, "what is in front of it counts"));
        }
        if let Some((word, flaw)) = flawed_words(words) {
            self.lose(draft, flaw_diag(word, flaw));
            return None;
        }
        Some(words).filter(|words| !words.is_empty())
    }

    /// Without those that are written twice, and no more than there may be.
    fn each_once<T: PartialEq + Display>(
        &mut self,
        draft: &mut Draft<'_>,
        what: &str,
        all: All<T>,
    ) -> Vec<T> {
        if let Some((_, span)) = all.get(MOST) {
            let message =
                format!("an instance has {MOST} {what}s at most, and here are {}", all.len());
            let diag = Diag::error(Code::TooMany, span.clone(), message);
            self.lose(draft, diag.hint("spread them over several instances"));
            return Vec::new();
        }
        let mut kept: All<T> = Vec::new();
        for (one, span) in all {
            match kept.iter().find(|(other, _)| *other == one) {
                Some((_, first)) => {
                    let message = format!("the {what} {one} is written twice");
                    let diag = Diag::warning(Code::Twice, span, message);
                    self.ctx.push(diag.now("it is set once").also(first.clone(), "the first one"));
                }
                None => kept.push((one, span)),
            }
        }
        kept.into_iter().map(|(one, _)| one).collect()
    }
}
