//! What a file says, before anything is known about its words: lines of words, some with a block.

use super::model::Span;

/// One word, quotes and escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// What it says.
    pub(super) text: String,
    /// Where it stands, quotes included.
    pub(super) span: Span,
    /// It begins with a quote.
    pub(super) quoted: bool,
    /// A comment begins right behind it, without a space between.
    pub(super) cut: bool,
    /// What is wrong with its spelling.
    pub(super) flaw: Option<Flaw>,
}

/// What can be wrong with the spelling of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The line ends inside a quoted text.
    OpenQuote(char),
    /// A byte that is not UTF-8, or an escape that makes one.
    NotText,
    /// A typographic quote where a straight one was meant.
    CurlyQuote(char),
}

/// A line of words, perhaps with the block that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// One at least.
    pub(super) words: Vec<Word>,
    /// `{ … }` behind the words, on the same line or on the next.
    pub(super) block: Option<Block>,
}

impl Statement {
    /// From the first word to the last.
    pub(super) fn head(&self) -> Span {
        span_of(&self.words)
    }
}

/// `{ … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The `}`, where there is one.
    pub(super) close: Option<Span>,
    /// What stands inside.
    pub(super) items: Vec<Statement>,
}

/// What breaks the structure of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A `}` that closes nothing.
    StrayClose(Span),
    /// A `{` without a word before it.
    StrayOpen(Span),
    /// A block that has no `{`.
    NoOpen {
        /// Its head.
        head: Span,
        /// Its name, as written.
        name: String,
        /// What belongs inside stands on the same line.
        list: bool,
    },
    /// A block that has no `}`.
    NoClose {
        /// Its head.
        head: Span,
        /// Its name, as written.
        name: String,
        /// What shows that it was to end: the head of the next block, or nothing at the file's end.
        before: Option<Span>,
        /// A `}` that closes a block inside but stands where this block's would.
        suspect: Option<Suspect>,
    },
    /// Blocks nested deeper than anyone means.
    TooDeep(Span),
    /// The name of a block stands on the line below its keyword. Read, but worth a word.
    NameBelow(Span),
}

/// A `}` whose indentation does not fit the block it closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    /// The `}`.
    pub(super) close: Span,
    /// The head of the block it closes.
    pub(super) head: Span,
    /// Its first word.
    pub(super) word: String,
}

/// From the first of some words to the last; empty for none.
pub(super) fn span_of(words: &[Word]) -> Span {
    match (words.first(), words.last()) {
        (Some(first), Some(last)) => first.span.start..last.span.end,
        _ => 0..0,
    }
}
