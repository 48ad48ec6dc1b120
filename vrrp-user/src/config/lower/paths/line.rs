//! The words of a line that says a route or a rule, one after the other.

use std::net::IpAddr;

use vrrp_common::Family;
use vrrp_common::wire::family_of;
use vrrp_proto::paths::{Network, PROTOCOL, Realms};

use super::super::super::ast::Word;
use super::super::super::diag::{Code, Diag};
use super::super::super::suggest::{nearest, shown};
use super::super::super::value::{Bad, interface};
use super::super::address;
use super::names::{self, Names};

/// What a line comes to, or what is wrong with it.
pub(super) type Read<T> = Result<T, Box<Diag>>;

/// A line, from the word on that is read next.
pub(super) struct Line<'w> {
    words: &'w [Word],
    at: usize,
    /// The family that something in it is of, and what.
    family: Option<(Family, &'w Word)>,
    /// What is to be said of it, though it is read.
    pub(super) said: Vec<Diag>,
}

impl<'w> Line<'w> {
    pub(super) fn new(words: &'w [Word]) -> Self {
        Self { words, at: 0, family: None, said: Vec::new() }
    }

    /// The next word.
    pub(super) fn next(&mut self) -> Option<&'w Word> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    /// The next word, which stays the next.
    pub(super) fn peek(&self) -> Option<&'w Word> {
        self.words.get(self.at)
    }

    /// Takes the next word if it is this one.
    pub(super) fn takes(&mut self, text: &str) -> bool {
        let is = self.peek().is_some_and(|word| word.text == text);
        self.at += usize::from(is);
        is
    }

    /// The value behind a word.
    pub(super) fn value(&mut self, key: &Word) -> Read<&'w Word> {
        self.next().ok_or_else(|| {
            let message = format!("`{}` has no value", shown(&key.text));
            Diag::error(Code::NoValue, key.span.clone(), message).into()
        })
    }

    /// A whole number behind a word, up to `most`.
    pub(super) fn number(&mut self, key: &Word, most: u32) -> Read<u32> {
        let word = self.value(key)?;
        number(&word.text)
            .filter(|number| *number <= most)
            .ok_or_else(|| wrong(key, word, format!("write a number from 0 to {most}")).into())
    }

    /// A name of the host's, or its number, behind a word.
    pub(super) fn name(&mut self, key: &Word, of: Names) -> Read<u32> {
        let word = self.value(key)?;
        names::find(of, &word.text).ok_or_else(|| {
            let hint = format!("write a number up to {}, or a name of {}", of.most(), of.file());
            wrong(key, word, hint).into()
        })
    }

    /// Realms behind a word: `TO` or `FROM/TO`.
    pub(super) fn realms(&mut self, key: &'w Word) -> Read<Realms> {
        self.be(Family::V4, key)?;
        let word = self.value(key)?;
        let realm = |text: &str| u16::try_from(names::find(Names::Realms, text)?).ok();
        let (from, to) = word.text.split_once('/').unwrap_or(("0", &word.text));
        realm(from).zip(realm(to)).map(|(from, to)| Realms { from, to }).ok_or_else(|| {
            wrong(key, word, "write `TO` or `FROM/TO`, in numbers up to 65535".to_owned()).into()
        })
    }

    /// The name of an interface behind a word.
    pub(super) fn device(&mut self, key: &Word) -> Read<&'w Word> {
        let word = self.value(key)?;
        interface(word).map_err(|bad| flawed(word, bad))?;
        Ok(word)
    }

    /// The address of a host behind a word, of whichever family.
    pub(super) fn host(&mut self, key: &Word) -> Read<(IpAddr, &'w Word)> {
        let word = self.value(key)?;
        match word.text.parse::<IpAddr>() {
            Ok(ip) if !ip.is_unspecified() => Ok((ip, word)),
            _ => {
                let bad = address::ip(&word.text).err();
                let bad = bad.unwrap_or_else(|| Bad::new("no address of a host"));
                Err(flawed(word, bad).into())
            }
        }
    }

    /// A network, which a word says; `None`: all addresses of either family.
    pub(super) fn network(&mut self, word: &'w Word) -> Read<Option<Network>> {
        if matches!(word.text.as_str(), "default" | "any" | "all") {
            return Ok(None);
        }
        let network = network(&word.text).map_err(|bad| flawed(word, bad))?;
        self.be(family_of(network.ip), word)?;
        Ok(Some(network))
    }

    /// Notes that a word is of a family alone.
    pub(super) fn be(&mut self, family: Family, word: &'w Word) -> Read<()> {
        match self.family {
            None => self.family = Some((family, word)),
            Some((before, first)) if before != family => {
                let name = |family| if family == Family::V4 { "IPv4" } else { "IPv6" };
                let message = format!(
                    "`{}` is of {}, and the line of {}",
                    shown(&word.text),
                    name(family),
                    name(before)
                );
                let diag = Diag::error(Code::Conflict, word.span.clone(), message);
                return Err(diag.also(first.span.clone(), format!("of {}", name(before))).into());
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The family of the line: IPv4, unless something in it says otherwise.
    pub(super) fn family(&self) -> Family {
        self.family.map_or(Family::V4, |(family, _)| family)
    }

    /// Who is said to have set it: keepalived, unless nobody puts it back.
    pub(super) fn protocol(&mut self, written: Option<(u32, &Word)>, tracked: bool) -> u8 {
        let Some((number, word)) = written else { return PROTOCOL };
        let number = u8::try_from(number).unwrap_or(PROTOCOL);
        if tracked && number != PROTOCOL {
            let message = format!("`protocol {}` where it is put back", shown(&word.text));
            let diag = Diag::warning(Code::Conflict, word.span.clone(), message);
            let now = format!("it has protocol {PROTOCOL}, keepalived's, by which it is known");
            self.said.push(diag.now(now).hint("leave `protocol` out, or write `no_track`"));
            return PROTOCOL;
        }
        number
    }

    /// Sets what can be said once.
    pub(super) fn once<T>(&self, slot: &mut Option<T>, value: T, word: &Word) -> Read<()> {
        if slot.is_some() {
            return Err(twice(word).into());
        }
        *slot = Some(value);
        Ok(())
    }

    /// The whole line, for what is wrong with all of it.
    pub(super) fn fault(&self, code: Code, message: impl Into<String>) -> Diag {
        Diag::error(code, super::span_of(self.words), message.into())
    }
}

/// A word that stands there already.
pub(super) fn twice(word: &Word) -> Diag {
    let message = format!("`{}` for the second time", shown(&word.text));
    Diag::error(Code::Twice, word.span.clone(), message).hint("leave one of them out")
}

/// A word that is none of those that can stand here.
pub(super) fn unknown<'c>(word: &Word, what: &str, words: impl Iterator<Item = &'c str>) -> Diag {
    let message = format!("`{}` is no word of a {what}", shown(&word.text));
    let diag = Diag::error(Code::UnknownWord, word.span.clone(), message);
    match nearest(&word.text, words) {
        Some(near) => diag.hint(format!("did you mean `{near}`?")),
        None => diag,
    }
}

/// A word of keepalived's that is not served.
pub(super) fn not_served(word: &Word, hint: &str) -> Diag {
    let message = format!("`{}` is not served yet", shown(&word.text));
    Diag::error(Code::NotServed, word.span.clone(), message).hint(hint)
}

/// A value that is none.
pub(super) fn wrong(key: &Word, word: &Word, hint: String) -> Diag {
    let message = format!("`{}`: `{}` is no value for it", shown(&key.text), shown(&word.text));
    Diag::error(Code::BadValue, word.span.clone(), message).hint(hint)
}

fn flawed(word: &Word, bad: Bad) -> Diag {
    Diag::error(Code::Address, word.span.clone(), bad.message).hint_if(bad.hint)
}

/// A number in decimal digits, or in hexadecimal ones behind `0x`.
pub(super) fn number(text: &str) -> Option<u32> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.strip_prefix("0x") {
        Some(digits) if plain(digits) => u32::from_str_radix(digits, 16).ok(),
        None if plain(text) => text.parse().ok(),
        _ => None,
    }
}

/// `ADDRESS` or `ADDRESS/LENGTH`.
fn network(text: &str) -> Result<Network, Bad> {
    let (ip, length) = match text.split_once('/') {
        Some((ip, length)) => (ip, Some(length)),
        None => (text, None),
    };
    let Ok(parsed) = ip.parse::<IpAddr>() else {
        let bad = address::ip(ip).err();
        return Err(bad.unwrap_or_else(|| Bad::new(format!("`{}` is no network", shown(text)))));
    };
    let whole = Network { ip: parsed, length: if parsed.is_ipv4() { 32 } else { 128 } };
    let Some(length) = length else { return Ok(whole) };
    match number(length).and_then(|length| u8::try_from(length).ok()) {
        Some(length) if length <= whole.length => Ok(Network { length, ..whole }),
        _ => Err(Bad::new(format!("`/{}` is no prefix length", shown(length)))
            .hint(format!("write a number from 0 to {}", whole.length))),
    }
}
