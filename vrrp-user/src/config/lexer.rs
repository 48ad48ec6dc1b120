//! Words, braces and line ends.
//!
//! `#` and `!` start a comment anywhere outside quotes. `"` and `'` quote; quoted and bare pieces
//! without a space between are one word. The same word grammar splits a command into its
//! arguments, where comments and braces have no meaning.

use winnow::combinator::{alt, not, opt, peek, preceded, repeat};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location, Stream};
use winnow::token::{any, one_of, take_till, take_while};

use super::ast::{Flaw, Word};
use super::model::Span;

/// A piece of the file that has a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Which.
    pub(super) kind: Kind,
    /// Where.
    pub(super) span: Span,
}

/// The kinds of token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word.
    Word(Word),
    /// `{`.
    Open,
    /// `}`.
    Close,
    /// The end of a line.
    Newline,
}

/// A file in tokens.
#[derive(Debug, Default)]
pub(super) struct Lexed {
    /// The tokens.
    pub(super) tokens: Vec<Token>,
    /// Spaces that only look like one: no-break, zero-width and the like.
    pub(super) odd_spaces: Vec<Span>,
}

/// An unclosed quote inside a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenQuote(pub(super) char);

type Input<'s> = LocatingSlice<&'s str>;
type Parsed<T> = Result<T, EmptyError>;

/// Where the word grammar is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    File,
    Command,
}

/// Cuts a file into tokens. Every text has some: nothing is an error here.
pub(super) fn tokens(text: &str) -> Lexed {
    let mut input = LocatingSlice::new(text);
    let mut lexed = Lexed::default();
    loop {
        lexed.odd_spaces.extend(trivia(&mut input));
        let Ok((kind, span)) = token.with_span().parse_next(&mut input) else {
            break;
        };
        lexed.tokens.push(Token { kind, span });
    }
    lexed
}

/// Splits a command into program and arguments, as a shell would: `'now master'` is one.
pub(super) fn split_command(text: &str) -> Result<Vec<String>, OpenQuote> {
    let mut input = LocatingSlice::new(text);
    let mut words = Vec::new();
    loop {
        let _: Parsed<&str> = take_while(0.., is_space).parse_next(&mut input);
        let Ok(word) = word(&mut input, Mode::Command) else {
            return Ok(words);
        };
        if let Some(Flaw::OpenQuote(quote)) = word.flaw {
            return Err(OpenQuote(quote));
        }
        words.push(word.text);
    }
}

/// Spaces and comments; returns where the odd spaces are.
fn trivia(input: &mut Input<'_>) -> Vec<Span> {
    let blank = take_while(1.., is_plain_space).map(|_| None);
    let comment = (one_of(['#', '!']), take_till(0.., '\n')).map(|_| None);
    let odd = take_while(1.., is_odd_space).span().map(Some);
    let piece = alt((blank, comment, odd));
    let all: Parsed<Vec<Option<Span>>> = repeat(0.., piece).parse_next(input);
    all.into_iter().flatten().flatten().collect()
}

fn token(input: &mut Input<'_>) -> Parsed<Kind> {
    alt((
        '\n'.value(Kind::Newline),
        '{'.value(Kind::Open),
        '}'.value(Kind::Close),
        (|input: &mut Input<'_>| word(input, Mode::File)).map(Kind::Word),
    ))
    .parse_next(input)
}

/// A piece of a word: its text, and what is wrong with it.
type Piece = (String, Option<Flaw>);

fn word(input: &mut Input<'_>, mode: Mode) -> Parsed<Word> {
    let start = input.current_token_start();
    let quoted = opt(peek(one_of(['"', '\'']))).parse_next(input)?.is_some();
    let mut text = String::new();
    let mut flaw = None;
    let mut pieces = 0;
    loop {
        let first = pieces == 0;
        let piece = alt((
            |input: &mut Input<'_>| quotation(input, first, mode),
            |input: &mut Input<'_>| backslash(input, mode),
            variable.map(|text: &str| (text.to_owned(), None)),
            |input: &mut Input<'_>| bare(input, mode),
        ))
        .parse_next(input);
        let Ok((more, wrong)) = piece else { break };
        text.push_str(&more);
        flaw = flaw.or(wrong);
        pieces += 1;
    }
    if pieces == 0 {
        return Err(EmptyError);
    }
    let end = input.previous_token_end();
    let cut = mode == Mode::File && opt(peek(one_of(['#', '!']))).parse_next(input)?.is_some();
    flaw = flaw.or_else(|| flaw_of(&text, quoted));
    Ok(Word { text, span: start..end, quoted, cut, flaw })
}

/// A run of characters without a meaning of their own.
fn bare(input: &mut Input<'_>, mode: Mode) -> Parsed<Piece> {
    let stops = move |c: char| {
        is_space(c)
            || matches!(c, '"' | '\'' | '\\' | '$')
            || (mode == Mode::File && (is_odd_space(c) || matches!(c, '{' | '}' | '#' | '!')))
    };
    // A `$` that starts no `${NAME}` is an ordinary character.
    alt((take_till(1.., stops), "$")).map(|text: &str| (text.to_owned(), None)).parse_next(input)
}

/// `${NAME}`, whose braces open no block.
fn variable<'s>(input: &mut Input<'s>) -> Parsed<&'s str> {
    ("${", take_till(0.., ['}', '{', '\n', '"']), '}').take().parse_next(input)
}

/// A quoted text. An apostrophe inside a word (`Bob's`) that nothing closes is just that.
/// One that ends a command is nothing, as in keepalived.
fn quotation(input: &mut Input<'_>, first: bool, mode: Mode) -> Parsed<Piece> {
    let before = input.checkpoint();
    let quote = one_of(['"', '\'']).parse_next(input)?;
    let mut text = String::new();
    loop {
        let piece: Parsed<String> = alt((
            preceded('\\', escape).map(String::from),
            take_till(1.., [quote, '\\', '\n']).map(str::to_owned),
            ('\\', peek(not(any))).map(|_| "\\".to_owned()),
        ))
        .parse_next(input);
        match piece {
            Ok(piece) => text.push_str(&piece),
            Err(EmptyError) => break,
        }
    }
    if opt(quote).parse_next(input)?.is_some() {
        return Ok((text, None));
    }
    if mode == Mode::Command && !first && text.is_empty() {
        return Ok((text, None));
    }
    if quote == '\'' && !first {
        input.reset(&before);
        return '\''.map(|c: char| (c.to_string(), None)).parse_next(input);
    }
    Ok((text, Some(Flaw::OpenQuote(quote))))
}

/// A backslash outside quotes. In a file it only takes the meaning from a character that has
/// one; before anything else it stands for itself, so that a password may contain it.
fn backslash(input: &mut Input<'_>, mode: Mode) -> Parsed<Piece> {
    let special = one_of(['#', '!', '"', '\'', '\\', '{', '}', ' ']).map(String::from);
    match mode {
        Mode::File => preceded('\\', opt(special)).map(|c| c.unwrap_or_else(|| "\\".to_owned())),
        Mode::Command => {
            return preceded('\\', opt(escape))
                .map(|c| (c.map_or_else(|| "\\".to_owned(), String::from), None))
                .parse_next(input);
        }
    }
    .map(|text| (text, None))
    .parse_next(input)
}

/// What follows a backslash: the escapes of a shell's `$'…'`.
fn escape(input: &mut Input<'_>) -> Parsed<char> {
    let octal = take_while(1..=3, '0'..='7').map(|digits: &str| code(digits, 8));
    let hex = preceded('x', take_while(1..=2, |c: char| c.is_ascii_hexdigit()))
        .map(|digits: &str| code(digits, 16));
    let control = preceded('c', one_of(' '..='~'))
        .map(|c: char| code(&(u32::from(c) & 0x1f).to_string(), 10));
    let other = any.verify(|&c| c != '\n').map(|c| match c {
        'a' => '\x07',
        'b' => '\x08',
        'E' => '\x1b',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        other => other,
    });
    alt((octal, hex, control, other)).parse_next(input)
}

/// The character with this number; what is not ASCII, or is NUL, can't be part of a word.
fn code(digits: &str, radix: u32) -> char {
    match u32::from_str_radix(digits, radix).ok().and_then(char::from_u32) {
        Some(c) if c != '\0' && c.is_ascii() => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

fn flaw_of(text: &str, quoted: bool) -> Option<Flaw> {
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Some(Flaw::NotText);
    }
    let first = text.chars().next().filter(|_| !quoted)?;
    matches!(first, '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2018}' | '\u{2019}' | '\u{ab}')
        .then_some(Flaw::CurlyQuote(first))
}

fn is_plain_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c')
}

fn is_space(c: char) -> bool {
    is_plain_space(c) || c == '\n'
}

/// Copied from a web page, these look like a space or like nothing.
pub(super) fn is_odd_space(c: char) -> bool {
    matches!(
        c,
        '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200d}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202f}'
                | '\u{205f}'
                | '\u{2060}'
                | '\u{3000}'
                | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokens(text)
            .tokens
            .into_iter()
            .map(|token| match token.kind {
                Kind::Word(word) => word.text,
                Kind::Open => "{".to_owned(),
                Kind::Close => "}".to_owned(),
                Kind::Newline => "\\n".to_owned(),
            })
            .collect()
    }

    #[test]
    fn braces_need_no_spaces() {
        assert_eq!(words("a{b c}d"), ["a", "{", "b", "c", "}", "d"]);
    }

    #[test]
    fn comments_start_anywhere_outside_quotes() {
        assert_eq!(
            words("a b#c {\nd !e\n\"f # g\" '!'"),
            ["a", "b", "\\n", "d", "\\n", "f # g", "!"]
        );
    }

    #[test]
    fn quotes_join_what_touches_them() {
        assert_eq!(words("abcd\" efg h jkl \"mnop"), ["abcd efg h jkl mnop"]);
        assert_eq!(words("abcd \"efg h jkl\" mnop"), ["abcd", "efg h jkl", "mnop"]);
        assert_eq!(words("''a'b c'\"\""), ["ab c"]);
        assert_eq!(words("\"\""), [""]);
    }

    #[test]
    fn escapes() {
        assert_eq!(
            words(r#""a\"b" "\x41\102\cA\t\\" \# a\!b a\b"#),
            ["a\"b", "AB\x01\t\\", "#", "a!b", "a\\b"]
        );
    }

    #[test]
    fn carriage_returns_are_spaces() {
        assert_eq!(words("auth_pass x\r\n}\r\n"), ["auth_pass", "x", "\\n", "}", "\\n"]);
    }

    /// As keepalived 2.2.7 takes them.
    #[test]
    fn a_quote_that_ends_a_command_is_nothing() {
        let split = |text: &str| split_command(text).ok();
        let words = |all: &[&str]| Some(all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(split("/bin/echo 'it's'"), words(&["/bin/echo", "its"]));
        assert_eq!(split("/bin/echo x'"), words(&["/bin/echo", "x"]));
        assert_eq!(split("/bin/echo x\""), words(&["/bin/echo", "x"]));
        assert_eq!(split("/bin/echo 'a b'c'd e'"), words(&["/bin/echo", "a bcd e"]));
        assert_eq!(split(r"/bin/echo it\'s"), words(&["/bin/echo", "it's"]));
        assert_eq!(split("/bin/echo '"), None);
    }

    #[test]
    fn an_apostrophe_in_a_word_is_no_quote() {
        assert_eq!(words("router_id Bob's\nb"), ["router_id", "Bob's", "\\n", "b"]);
    }

    #[test]
    fn an_open_quote_ends_with_its_line() {
        let lexed = tokens("script \"/bin/a {\nb");
        let Kind::Word(word) = &lexed.tokens[1].kind else { panic!("a word") };
        assert_eq!(word.flaw, Some(Flaw::OpenQuote('"')));
        assert_eq!(word.span, 7..16);
        assert_eq!(lexed.tokens.len(), 4);
    }

    #[test]
    fn variables_keep_their_braces() {
        assert_eq!(words("a ${X}b $Y {"), ["a", "${X}b", "$Y", "{"]);
        assert_eq!(words("a ${"), ["a", "$", "{"]);
    }

    #[test]
    fn odd_spaces_are_found() {
        let lexed = tokens("priority\u{a0}100");
        assert_eq!(lexed.tokens.len(), 2);
        assert_eq!(lexed.odd_spaces.first(), Some(&(8..10)));
    }

    #[test]
    fn a_comment_that_cuts_a_word_is_noted() {
        let lexed = tokens("auth_pass p@ss!word");
        let Kind::Word(word) = &lexed.tokens[1].kind else { panic!("a word") };
        assert_eq!((word.text.as_str(), word.cut), ("p@ss", true));
    }

    #[test]
    fn commands_split_like_in_a_shell() {
        assert_eq!(
            split_command("/bin/sh -c 'test -d /tmp'"),
            Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), "test -d /tmp".to_owned()])
        );
        assert_eq!(
            split_command("a {}#b! c\\ d"),
            Ok(vec!["a".to_owned(), "{}#b!".to_owned(), "c d".to_owned()])
        );
        assert_eq!(split_command("a 'b"), Err(OpenQuote('\'')));
        assert_eq!(split_command("  "), Ok(vec![]));
    }
}
