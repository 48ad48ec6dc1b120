//! What was probably meant.

/// The candidate that is nearest to a word, if one is near enough to be a slip of the hand.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let word: Vec<char> = word.chars().take(65).flat_map(char::to_lowercase).collect();
    if !(3..=64).contains(&word.len()) {
        return None;
    }
    candidates
        .filter_map(|candidate| {
            let length = candidate.chars().count();
            let allowed = match word.len().min(length) {
                0..=2 => return None,
                3..=5 => 1,
                6..=8 => 2,
                shorter => shorter / 3,
            };
            if word.len().abs_diff(length) > allowed {
                return None;
            }
            let chars: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            let steps = distance(&word, &chars);
            (steps <= allowed).then_some((steps, candidate))
        })
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours from one word to the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// A character that looks like an ASCII one: its name and what it looks like.
pub(super) fn lookalike(text: &str) -> Option<(char, &'static str)> {
    text.chars().find_map(|c| {
        let meant = match c {
            '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{ff0d}' => "-",
            '\u{2018}' | '\u{2019}' | '\u{201b}' => "'",
            '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => "\"",
            '\u{ff0c}' | '\u{3001}' => ",",
            '\u{ff0e}' | '\u{3002}' => ".",
            '\u{ff1a}' => ":",
            '\u{ff1b}' => ";",
            '\u{ff1d}' => "=",
            '\u{ff5b}' => "{",
            '\u{ff5d}' => "}",
            '\u{ff03}' => "#",
            '\u{ff0f}' => "/",
            '\u{ff10}'..='\u{ff19}' => "a plain digit",
            _ => return None,
        };
        Some((c, meant))
    })
}

/// A word for a message: control characters shown, and not longer than a line can bear.
pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(40).flat_map(escaped).collect();
    if text.chars().nth(40).is_some() {
        out.push('…');
    }
    out
}

fn escaped(c: char) -> Vec<char> {
    match c {
        c if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}') => {
            c.escape_unicode().collect()
        }
        c => vec![c],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let words = || ["priority", "interface", "virtual_ipaddress", "nopreempt"].into_iter();
        assert_eq!(nearest("prioritty", words()), Some("priority"));
        assert_eq!(nearest("Priority", words()), Some("priority"));
        assert_eq!(nearest("pirority", words()), Some("priority"));
        assert_eq!(nearest("intreface", words()), Some("interface"));
        assert_eq!(nearest("virtual_ipadress", words()), Some("virtual_ipaddress"));
        assert_eq!(nearest("colour", words()), None);
        assert_eq!(nearest("", words()), None);
        assert_eq!(nearest(&"priority".repeat(1000), words()), None);
    }

    #[test]
    fn distance_counts_a_swap_once() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(shown("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown(&"x".repeat(50)).chars().count(), 41);
    }
}
