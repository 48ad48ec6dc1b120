//! From tokens to statements and blocks.
//!
//! The grammar takes every sequence of tokens: what breaks the structure becomes a [`Fault`], and
//! reading goes on where a person would, so that one missing brace does not hide the rest.
//!
//! ```text
//! file      = { newline | statement }
//! statement = word { word } [ { newline } block ]
//! block     = "{" { newline | statement } "}"
//! ```

use winnow::combinator::{opt, preceded, repeat};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::stream::{Stream, TokenSlice};
use winnow::token::any;

use super::ast::{Block, Fault, Statement, Suspect, Word};
use super::lexer::{Kind, Token};
use super::model::Span;
use super::words;

/// Nobody nests deeper: keepalived's own deepest block is the fifth.
const DEEPEST: usize = 32;

type Tokens<'t> = TokenSlice<'t, Token>;
type Parsed<T> = Result<T, EmptyError>;

/// A file in statements.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The statements outside all blocks.
    pub(super) items: Vec<Statement>,
    /// What breaks the structure.
    pub(super) faults: Vec<Fault>,
}

/// Parses a file.
pub(super) fn parse(text: &str, tokens: &[Token]) -> Tree {
    let mut input = TokenSlice::new(tokens);
    let mut parser = Reader { text, faults: Vec::new() };
    let mut items = Vec::new();
    loop {
        newlines(&mut input);
        if let Ok(span) = close(&mut input) {
            parser.faults.push(Fault::StrayClose(span));
        } else if input.is_empty() {
            break;
        } else {
            items.extend(parser.statement(&mut input, 0));
        }
    }
    Tree { items, faults: parser.faults }
}

/// What the rules of the grammar share.
struct Reader<'s> {
    text: &'s str,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    /// A statement with its block. The next token is a word or `{`.
    fn statement(&mut self, input: &mut Tokens<'_>, depth: usize) -> Option<Statement> {
        let mut words = line(input);
        if words.is_empty() {
            if let Ok(span) = open(input) {
                self.faults.push(Fault::StrayOpen(span));
                self.block(input, &[], depth);
            }
            return None;
        }
        self.name_below(input, &mut words);
        let opened = opt(preceded(newlines_before, open)).parse_next(input).ok().flatten();
        let mut block = None;
        if opened.is_some() {
            block = Some(self.block(input, &words, depth));
        } else if words::opens_block(&words[0].text) && !words[0].quoted {
            let head = super::ast::span_of(&words);
            let list = words.len() > 1 && !words::names_block(&words[0].text);
            self.faults.push(Fault::NoOpen { head, name: name_of(&words), list });
            // `virtual_ipaddress 192.0.2.1/24` is complete but for its braces; what follows
            // `vrrp_instance VI_1` belongs inside.
            if !list && !close_follows(input) {
                block = Some(self.block(input, &words, depth));
            }
        }
        Some(Statement { words, block })
    }

    /// `vrrp_script` alone on its line, and `chk_nginx {` on the next.
    fn name_below(&mut self, input: &mut Tokens<'_>, words: &mut Vec<Word>) {
        let [only] = words.as_slice() else { return };
        if only.quoted || !words::names_block(&only.text) {
            return;
        }
        let before = input.checkpoint();
        newlines(input);
        let below = line(input);
        match below.first() {
            Some(name) if !words::begins_file_block(&name.text) && open_follows(input) => {
                self.faults.push(Fault::NameBelow(super::ast::span_of(&below)));
                words.extend(below);
            }
            _ => input.reset(&before),
        }
    }

    /// The inside of a block and its `}`. The `{` has been read.
    fn block(&mut self, input: &mut Tokens<'_>, head: &[Word], depth: usize) -> Block {
        let mut items: Vec<Statement> = Vec::new();
        if depth >= DEEPEST {
            let span = super::ast::span_of(head);
            self.faults.push(Fault::TooDeep(span));
            let _: Parsed<&[Token]> = winnow::token::rest.parse_next(input);
            return Block { close: None, items };
        }
        loop {
            newlines(input);
            if let Ok(span) = close(input) {
                return Block { close: Some(span), items };
            }
            let before = input.checkpoint();
            let next = opt(word).parse_next(input).ok().flatten();
            input.reset(&before);
            let foreign = next.filter(|word| words::begins_file_block(&word.text) && !word.quoted);
            if input.is_empty() || foreign.is_some() {
                self.faults.push(self.unclosed(head, &items, foreign.map(|word| word.span)));
                return Block { close: None, items };
            }
            items.extend(self.statement(input, depth + 1));
        }
    }

    fn unclosed(&self, head: &[Word], items: &[Statement], before: Option<Span>) -> Fault {
        let span = super::ast::span_of(head);
        let suspect = items.iter().find_map(|item| {
            let close = item.block.as_ref()?.close.clone()?;
            let own = indentation(self.text, close.start)?;
            let above = indentation(self.text, item.head().start)?;
            let word = item.words.first()?.text.clone();
            (own < above).then(|| Suspect { close, head: item.head(), word })
        });
        Fault::NoClose { head: span, name: name_of(head), before, suspect }
    }
}

/// The blanks before an offset, where only blanks stand between it and the start of its line.
fn indentation(text: &str, offset: usize) -> Option<usize> {
    let before = text.get(..offset)?;
    let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
    line.chars().all(char::is_whitespace).then(|| line.chars().count())
}

/// A block's keyword and its name, for messages.
fn name_of(head: &[Word]) -> String {
    let words: Vec<&str> = head.iter().take(2).map(|word| word.text.as_str()).collect();
    words.join(" ")
}

/// The words up to the end of the line or a brace.
fn line(input: &mut Tokens<'_>) -> Vec<Word> {
    repeat(0.., word).parse_next(input).unwrap_or_default()
}

fn word(input: &mut Tokens<'_>) -> Parsed<Word> {
    any.verify_map(|token: &Token| match &token.kind {
        Kind::Word(word) => Some(word.clone()),
        Kind::Open | Kind::Close | Kind::Newline => None,
    })
    .parse_next(input)
}

fn brace(input: &mut Tokens<'_>, which: &Kind) -> Parsed<Span> {
    any.verify_map(|token: &Token| (token.kind == *which).then(|| token.span.clone()))
        .parse_next(input)
}

fn open(input: &mut Tokens<'_>) -> Parsed<Span> {
    brace(input, &Kind::Open)
}

fn close(input: &mut Tokens<'_>) -> Parsed<Span> {
    brace(input, &Kind::Close)
}

fn open_follows(input: &mut Tokens<'_>) -> bool {
    follows(input, &Kind::Open)
}

fn close_follows(input: &mut Tokens<'_>) -> bool {
    follows(input, &Kind::Close)
}

/// Looks at the next token that is no line end.
fn follows(input: &mut Tokens<'_>, which: &Kind) -> bool {
    let before = input.checkpoint();
    newlines(input);
    let follows = brace(input, which).is_ok();
    input.reset(&before);
    follows
}

fn newlines_before(input: &mut Tokens<'_>) -> Parsed<()> {
    newlines(input);
    Ok(())
}

fn newlines(input: &mut Tokens<'_>) {
    let newline = any.verify(|token: &&Token| token.kind == Kind::Newline).void();
    let _: Parsed<()> = repeat(0.., newline).parse_next(input);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::lexer;

    fn tree(text: &str) -> Tree {
        parse(text, &lexer::tokens(text).tokens)
    }

    fn shape(items: &[Statement]) -> String {
        let mut out = Vec::new();
        for item in items {
            let words: Vec<&str> = item.words.iter().map(|word| word.text.as_str()).collect();
            let block = item.block.as_ref().map(|block| format!("[{}]", shape(&block.items)));
            out.push(format!("{}{}", words.join(" "), block.unwrap_or_default()));
        }
        out.join("; ")
    }

    #[test]
    fn braces_on_any_line() {
        let expected = "a b[c d; e[f]]";
        for text in
            ["a b{\nc d\ne{\nf\n}\n}", "a b\n{\n\nc d\ne\n\n{ f }\n}", "a b { c d\ne { f }}"]
        {
            let tree = tree(text);
            assert_eq!(shape(&tree.items), expected, "{text}");
            assert_eq!(tree.faults, []);
        }
    }

    #[test]
    fn a_name_may_stand_below() {
        let tree = tree("vrrp_script\nchk {\n interval 2\n}\n");
        assert_eq!(shape(&tree.items), "vrrp_script chk[interval 2]");
        assert_eq!(tree.faults, [Fault::NameBelow(12..15)]);
    }

    #[test]
    fn a_missing_close_names_its_block_and_the_suspect() {
        let text = "vrrp_instance A {\n    virtual_ipaddress {\n        1.1.1.1\n}\n";
        let faults = tree(text).faults;
        let [Fault::NoClose { head, name, before: None, suspect: Some(suspect) }] = &faults[..]
        else {
            panic!("{faults:?}");
        };
        assert_eq!((head.clone(), name.as_str()), (0..15, "vrrp_instance A"));
        assert_eq!(suspect.word, "virtual_ipaddress");
    }

    #[test]
    fn the_next_block_ends_an_unclosed_one() {
        let tree = tree("vrrp_instance A {\n x {\n 1\n}\nvrrp_instance B {\n y\n}\n");
        assert_eq!(shape(&tree.items), "vrrp_instance A[x[1]]; vrrp_instance B[y]");
        assert_eq!(tree.faults.len(), 1);
    }

    #[test]
    fn a_missing_open_is_read_as_if_it_were_there() {
        let tree = tree("vrrp_instance A\n priority 1\n}\nb\n");
        assert_eq!(shape(&tree.items), "vrrp_instance A[priority 1]; b");
        assert!(matches!(tree.faults[..], [Fault::NoOpen { .. }]), "{:?}", tree.faults);
    }

    #[test]
    fn stray_braces() {
        assert_eq!(tree("}\na\n").faults, [Fault::StrayClose(0..1)]);
        assert_eq!(tree("{ a }").faults, [Fault::StrayOpen(0..1)]);
    }

    #[test]
    fn depth_has_an_end() {
        let deep = "a {".repeat(100_000);
        let faults = tree(&deep).faults;
        assert!(faults.iter().any(|fault| matches!(fault, Fault::TooDeep(_))));
    }
}
