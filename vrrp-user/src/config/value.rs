//! Values: numbers, times, switches, names of interfaces.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::ast::Word;
use super::suggest::{lookalike, shown};

/// CPUs that a set of the kernel's can name: 0 to 1023.
pub(super) const CPUS: usize = 1024;

/// A value that is none: what is wrong with it, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// What is wrong.
    pub(super) message: String,
    /// What to write.
    pub(super) hint: Option<String>,
}

impl Bad {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A whole number within a range.
pub(super) fn integer(word: &Word, range: RangeInclusive<i64>) -> Result<i64, Bad> {
    let text = word.text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_a_number(text, "a whole number", &range));
    }
    match text.parse::<i64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Bad::new(format!(
            "`{}` is outside the range {} to {}",
            shown(text),
            range.start(),
            range.end()
        ))),
    }
}

/// A time in seconds, decimals allowed, exact to the nanosecond.
pub(super) fn seconds(word: &Word, longest: u64) -> Result<Duration, Bad> {
    let text = word.text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !number(whole) || !number(fraction) {
        if text.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            return Err(Bad::new(format!("`{}` is negative", shown(text))));
        }
        return Err(not_a_number(text, "a time in seconds", &(0..=longest as i64)));
    }
    let nanos: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos = nanos.parse::<u32>().unwrap_or(0);
    let whole = if whole.is_empty() { Some(0) } else { whole.parse::<u64>().ok() };
    match whole.map(|whole| Duration::new(whole.min(longest + 1), nanos)) {
        Some(time) if time <= Duration::from_secs(longest) => Ok(time),
        _ => Err(Bad::new(format!("`{}` is more than {longest} seconds", shown(text)))),
    }
}

fn not_a_number(text: &str, wanted: &str, range: &RangeInclusive<i64>) -> Bad {
    let bad = Bad::new(format!("`{}` is not {wanted}", shown(text)));
    if let Some((c, meant)) = lookalike(text) {
        return bad
            .hint(format!("`{c}` (U+{:04X}) only looks like {meant}: type it again", c as u32));
    }
    let number = text.trim_end_matches([';', ',']);
    if number != text && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return bad.hint(format!("nothing ends a line here: write `{number}`"));
    }
    if text.contains(',') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b',') {
        return bad.hint(format!("decimals take a point: write `{}`", text.replace(',', ".")));
    }
    if let Some(meant) = without_unit(text) {
        return bad.hint(format!("write the number without a unit: `{meant}`"));
    }
    if text == "=" || text == ":" {
        return bad.hint(format!("leave the `{text}` out: keyword and value stand side by side"));
    }
    if let Some(hex) = text.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
        return bad.hint(format!("numbers are decimal: write `{hex}`"));
    }
    bad.hint(format!("write a number from {} to {}", range.start(), range.end()))
}

/// `1s`, `500ms`, `20%`: the number that was meant, in seconds where it is a time.
fn without_unit(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-')?;
    let (number, unit) = text.split_at(end);
    number.parse::<f64>().ok()?;
    match unit {
        "s" | "sec" | "secs" | "second" | "seconds" | "%" => Some(number.to_owned()),
        "ms" => number
            .parse::<u64>()
            .ok()
            .map(|ms| format!("{}", Duration::from_millis(ms).as_secs_f64())),
        _ => None,
    }
}

/// `on`, `true`, `yes` or nothing; `off`, `false`, `no`.
pub(super) fn switch(word: Option<&Word>) -> Result<bool, Bad> {
    match word.map(|word| word.text.as_str()) {
        None | Some("on" | "true" | "yes") => Ok(true),
        Some("off" | "false" | "no") => Ok(false),
        Some(other) => Err(Bad::new(format!("`{}` is neither `on` nor `off`", shown(other)))
            .hint("write `on`, `true` or `yes`, or `off`, `false` or `no`")),
    }
}

/// The name of a network interface, by the kernel's rules.
pub(super) fn interface(word: &Word) -> Result<String, Bad> {
    let name = word.text.as_str();
    let bad = Bad::new(format!("`{}` can't be the name of an interface", shown(name)));
    if let Some((device, label)) = name.split_once(':') {
        let hint = format!(
            "`{}` is an address label: write `{}` here, and `label {}` behind the address",
            shown(name),
            shown(device),
            shown(&format!("{device}:{label}"))
        );
        return Err(bad.hint(hint));
    }
    let plain = name.trim_end_matches([';', ',']);
    if plain != name {
        return Err(bad.hint(format!("write `{}`", shown(plain))));
    }
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', ' ', '\t']) {
        return Err(bad);
    }
    if name.len() > 15 {
        return Err(Bad::new(format!("`{}` is longer than the 15 bytes of a name", shown(name))));
    }
    Ok(name.to_owned())
}

/// A time as people write it: `1.5 s`.
pub(super) fn said(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word {
        Word { text: text.to_owned(), span: 0..text.len(), quoted: false, cut: false, flaw: None }
    }

    fn hint<T: std::fmt::Debug>(result: Result<T, Bad>) -> String {
        result.unwrap_err().hint.unwrap_or_default()
    }

    #[test]
    fn integers() {
        assert_eq!(integer(&word("255"), 1..=255), Ok(255));
        assert_eq!(integer(&word("-20"), -253..=253), Ok(-20));
        assert!(integer(&word("256"), 1..=255).is_err());
        assert!(integer(&word("99999999999999999999"), 1..=255).is_err());
        assert!(hint(integer(&word("100;"), 1..=255)).contains("`100`"));
        assert!(hint(integer(&word("\u{2013}20"), -253..=253)).contains("U+2013"));
        assert!(hint(integer(&word("0x33"), 1..=255)).contains("`51`"));
        assert!(hint(integer(&word("20%"), 1..=255)).contains("`20`"));
        assert!(hint(integer(&word("="), 1..=255)).contains("leave the `=` out"));
    }

    #[test]
    fn times() {
        assert_eq!(seconds(&word("1"), 255), Ok(Duration::from_secs(1)));
        assert_eq!(seconds(&word("0.000001"), 255), Ok(Duration::from_micros(1)));
        assert_eq!(seconds(&word(".5"), 255), Ok(Duration::from_millis(500)));
        assert_eq!(seconds(&word("255"), 255), Ok(Duration::from_secs(255)));
        assert!(seconds(&word("255.1"), 255).is_err());
        assert!(seconds(&word("99999999999999999999999"), 255).is_err());
        assert!(seconds(&word("."), 255).is_err());
        assert!(seconds(&word("-1"), 255).unwrap_err().message.contains("negative"));
        assert!(hint(seconds(&word("0,5"), 255)).contains("`0.5`"));
        assert!(hint(seconds(&word("1s"), 255)).contains("`1`"));
        assert!(hint(seconds(&word("500ms"), 255)).contains("`0.5`"));
    }

    #[test]
    fn interfaces() {
        assert_eq!(interface(&word("eth0.100")), Ok("eth0.100".to_owned()));
        assert!(hint(interface(&word("eth0:1"))).contains("label eth0:1"));
        assert!(hint(interface(&word("eth0;"))).contains("`eth0`"));
        assert!(interface(&word("a-name-of-16-chr")).is_err());
        assert!(interface(&word("a/b")).is_err());
    }
}
