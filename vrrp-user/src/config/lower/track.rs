//! `track_script` and `track_interface`.

use vrrp_proto::settings::Delays;

use super::super::ast::Word;
use super::super::diag::{Code, Diag};
use super::super::model::{Span, Tracked, Weight};
use super::super::suggest::{nearest, shown};
use super::super::value::interface;
use super::delays::LinkDelays;
use super::items::{Item, flaw_diag, flawed_words};
use super::script::{Scripts, weight};
use super::{Ctx, Refusal, extra_words};

/// Reads `track_script`: only scripts that exist and can be used.
pub(super) fn scripts(
    ctx: &mut Ctx,
    item: &Item<'_>,
    scripts: &Scripts,
    lost: &str,
) -> (Vec<Tracked>, Vec<Refusal>) {
    let mut reader = Reader { ctx, lost, tracked: Vec::new(), refusals: Vec::new() };
    reader.lines(item, &|word| scripts.contains_key(&word.text), &|reader, word| match scripts
        .get(&word.text)
    {
        Some(Ok(script)) => {
            if script.span.start > word.span.start {
                reader.ctx.push(stands_below(word));
            }
            Some((word.text.clone(), script.weight))
        }
        Some(Err(refusal)) => {
            reader.refusals.push(refusal.clone());
            None
        }
        None => {
            reader.lose(unknown_script(word, scripts));
            None
        }
    });
    (reader.tracked, reader.refusals)
}

/// Reads `track_interface`. `delays` are those of the interfaces.
pub(super) fn interfaces(
    ctx: &mut Ctx,
    item: &Item<'_>,
    delays: &LinkDelays,
    lost: &str,
) -> (Vec<Tracked>, Vec<Refusal>) {
    let mut reader = Reader { ctx, lost, tracked: Vec::new(), refusals: Vec::new() };
    let another = |word: &Word| {
        let option = matches!(word.text.as_str(), "reverse" | "noreverse");
        !option && interface(word).is_ok() && nearest(&word.text, ["weight"].into_iter()).is_none()
    };
    reader.lines(item, &another, &|reader, word| match interface(word) {
        Ok(name) => Some((name, Weight::default())),
        Err(bad) => {
            let diag = Diag::error(Code::BadValue, word.span.clone(), bad.message);
            reader.lose(diag.hint_if(bad.hint));
            None
        }
    });
    for tracked in &mut reader.tracked {
        tracked.delays = delays.get(&tracked.name).copied().unwrap_or_default();
    }
    (reader.tracked, reader.refusals)
}

/// keepalived looks a name up where it reads it, and finds none that comes later.
fn stands_below(word: &Word) -> Diag {
    let name = shown(&word.text);
    let message = format!("`vrrp_script {name}` stands below its use");
    Diag::warning(Code::WrongPlace, word.span.clone(), message)
        .now("it is tracked; keepalived tracks the scripts above alone")
        .hint("move it above: a keepalived peer with this file has another priority")
}

fn unknown_script(word: &Word, scripts: &Scripts) -> Diag {
    let message = format!("there is no `vrrp_script {}` in the file", shown(&word.text));
    let near = nearest(&word.text, scripts.keys().map(String::as_str));
    let names: Vec<String> =
        scripts.keys().take(5).map(|name| format!("`{}`", shown(name))).collect();
    let hint = match near {
        Some(near) => format!("did you mean `{}`?", shown(near)),
        None if names.is_empty() => "the file has no `vrrp_script` at all".to_owned(),
        None => format!("the file has {}", names.join(", ")),
    };
    Diag::error(Code::UnknownName, word.span.clone(), message).hint(hint)
}

struct Reader<'c> {
    ctx: &'c mut Ctx,
    lost: &'c str,
    tracked: Vec<Tracked>,
    refusals: Vec<Refusal>,
}

/// Finds what a name stands for, and its own weight.
type Resolve<'r> = &'r dyn Fn(&mut Reader<'_>, &Word) -> Option<(String, Weight)>;

impl Reader<'_> {
    fn lose(&mut self, diag: Diag) {
        let refusal = self.ctx.lose(diag.now(self.lost));
        self.refusals.push(refusal);
    }

    fn lines(&mut self, item: &Item<'_>, another: &dyn Fn(&Word) -> bool, resolve: Resolve<'_>) {
        for statement in item.statements() {
            if statement.block.is_some() {
                let message = format!("a block inside `{}`", item.known.name);
                let diag = Diag::error(Code::Brace, statement.head(), message);
                self.lose(diag.hint("only names stand here: look at the braces above"));
                continue;
            }
            if let Some((word, flaw)) = flawed_words(&statement.words) {
                self.lose(flaw_diag(word, flaw));
                continue;
            }
            let mut rest = &statement.words[..];
            while let [name, after @ ..] = rest {
                if name.text.starts_with("//") {
                    self.ctx.push(extra_words(rest, "nothing is tracked from it"));
                    break;
                }
                rest = self.one(name, after, another, resolve);
            }
        }
    }

    /// A name, perhaps with `weight W [reverse]`; returns what follows.
    fn one<'w>(
        &mut self,
        name: &Word,
        after: &'w [Word],
        another: &dyn Fn(&Word) -> bool,
        resolve: Resolve<'_>,
    ) -> &'w [Word] {
        let found = resolve(self, name);
        let (own, rest) = match after {
            [] => (None, after),
            [word, rest @ ..] if word.text == "weight" => {
                let used = match rest {
                    [_, next, ..] if matches!(next.text.as_str(), "reverse" | "noreverse") => 2,
                    _ => rest.len().min(1),
                };
                match weight(&rest[..used]) {
                    Ok(weight) => (Some(weight), &rest[used..]),
                    Err(bad) => {
                        let span = rest.first().unwrap_or(word).span.clone();
                        let message = format!("`weight`: {}", bad.message);
                        self.lose(Diag::error(Code::BadValue, span, message).hint_if(bad.hint));
                        (None, &rest[..0])
                    }
                }
            }
            [word, ..] if word.text.starts_with("//") => (None, after),
            [word, ..] if another(word) => {
                let message = format!("a second name on one line: `{}`", shown(&word.text));
                let diag = Diag::warning(Code::OneLine, word.span.clone(), message);
                let diag = diag.now("both are tracked; keepalived would ignore it");
                self.ctx.push(diag.hint("give it a line of its own"));
                (None, after)
            }
            [word, ..] => {
                let message = format!("`{}` follows the name", shown(&word.text));
                let diag = Diag::error(Code::BadValue, word.span.clone(), message);
                let hint = match word.text.as_str() {
                    "reverse" | "noreverse" => format!("write `weight W {}`", word.text),
                    _ => "only `weight W` with `reverse` or `noreverse` can follow".to_owned(),
                };
                self.lose(diag.hint(hint));
                (None, &after[..0])
            }
        };
        if let Some((known, weight)) = found {
            self.add(known, own.unwrap_or(weight), name.span.clone());
        }
        rest
    }

    fn add(&mut self, name: String, weight: Weight, span: Span) {
        if let Some(before) = self.tracked.iter().find(|tracked| tracked.name == name) {
            let message = format!("`{}` is tracked twice", shown(&name));
            let diag = Diag::warning(Code::Twice, span, message).now("the first one counts");
            let before = before.span.clone();
            self.ctx.push(diag.also(before, "the first one"));
            return;
        }
        self.tracked.push(Tracked { name, weight, delays: Delays::default(), span });
    }
}
