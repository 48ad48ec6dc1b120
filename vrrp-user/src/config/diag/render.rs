//! Messages as people see them.

use ariadne::{Color, Config, IndexType, Label, LabelAttach, Report, ReportKind};

use super::super::model::{Source, Span};
use super::{Diag, Lines, Severity};

/// The place of a piece of text, as the renderer wants it.
type Place = (String, Span);

/// Renders messages for a terminal: file, line, column, the text underlined, what was probably
/// meant and what happens now.
pub fn render(source: &Source, diags: &[Diag], color: bool) -> String {
    let name = displayable(&source.path.display().to_string());
    let text = displayable(&source.text);
    let mut cache = ariadne::sources([(name.clone(), text.clone())]);
    let mut out = Vec::new();
    for diag in diags {
        let report = report(&name, &text, diag, color);
        // Writing to memory fails for no reason but a fault of the renderer; the message itself
        // must come through all the same.
        if report.write(&mut cache, &mut out).is_err() {
            out.extend(log_lines(source, std::slice::from_ref(diag)).join("\n").bytes());
        }
        out.push(b'\n');
    }
    let rendered = String::from_utf8_lossy(&out);
    let rendered = if color { rendered.into_owned() } else { without_colors(&rendered) };
    let mut trimmed: String =
        rendered.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    trimmed.truncate(trimmed.trim_end().len());
    if !trimmed.is_empty() {
        trimmed.push('\n');
    }
    trimmed
}

/// The same in one line each, for the log: `FILE:LINE:COL: message; consequence (suggestion)`.
///
/// No line quotes a value of `auth_pass`.
pub fn log_lines(source: &Source, diags: &[Diag]) -> Vec<String> {
    let lines = Lines::new(&source.text);
    let one = |diag: &Diag| {
        let place = place_in(source, &lines, diag.span.start);
        let hint = diag.suggestion.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{place}: {}; {}{hint}", diag.message, diag.consequence)
    };
    diags.iter().map(one).collect()
}

/// The place of a byte offset, `FILE:LINE:COL`, as the messages for the log begin with it.
pub fn place(source: &Source, offset: usize) -> String {
    place_in(source, &Lines::new(&source.text), offset)
}

fn place_in(source: &Source, lines: &Lines, offset: usize) -> String {
    let (line, column) = lines.position(&source.text, offset);
    format!("{}:{line}:{column}", source.path.display())
}

fn report<'d>(name: &str, text: &str, diag: &'d Diag, color: bool) -> Report<'d, Place> {
    let (kind, tint) = match diag.severity {
        Severity::Error => (ReportKind::Error, Color::Red),
        Severity::Warning => (ReportKind::Warning, Color::Yellow),
        Severity::Notice => (ReportKind::Custom("Notice", Color::Cyan), Color::Cyan),
    };
    let config = Config::default()
        .with_color(color)
        .with_index_type(IndexType::Byte)
        .with_label_attach(LabelAttach::Start);
    let place = |span: &Span| (name.to_owned(), on_one_line(text, span));
    let main = Label::new(place(&diag.span)).with_color(tint);
    let main = match &diag.suggestion {
        Some(suggestion) => main.with_message(suggestion),
        // The renderer underlines nothing that has no text.
        None => main.with_message("here"),
    };
    let other = diag
        .also
        .iter()
        .map(|(span, what)| Label::new(place(span)).with_message(what).with_color(Color::Blue));
    // In the order of the file, or the renderer shows each as a file of its own.
    let mut labels: Vec<Label<Place>> = std::iter::once(main).chain(other).collect();
    if diag.also.as_ref().is_some_and(|(span, _)| span.start < diag.span.start) {
        labels.reverse();
    }
    let mut report = Report::build(kind, place(&diag.span))
        .with_config(config)
        .with_code(diag.code.as_str())
        .with_message(&diag.message);
    report.add_labels(labels);
    if !diag.consequence.is_empty() {
        report.set_note(format!("what happens now: {}", diag.consequence));
    }
    report.finish()
}

/// The text without colours: the renderer puts them into a notice's heading whatever it is told.
fn without_colors(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// A span cut to its first line and to the text's characters.
fn on_one_line(text: &str, span: &Span) -> Span {
    let start = floor(text, span.start);
    let end = floor(text, span.end).max(start);
    let length = text[start..end].find('\n').unwrap_or(end - start);
    start..start + length
}

fn floor(text: &str, offset: usize) -> usize {
    text.floor_char_boundary(offset.min(text.len()))
}

/// The text with everything replaced that would move a terminal's cursor or that the renderer
/// takes for a line end, byte for byte and character for character, so that offsets stay.
fn displayable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            '\r' | '\x0b' | '\x0c' => ' ',
            '\0'..='\x1f' | '\x7f' => '?',
            '\u{80}'..='\u{9f}' => '\u{bf}',
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' => {
                '\u{fffd}'
            }
            '\u{feff}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_the_same_offsets() {
        let text = "a\x1b[31m\u{85}b\u{2028}c\u{feff}\r\nd";
        let shown = displayable(text);
        assert_eq!(shown.len(), text.len());
        assert_eq!(shown.chars().count(), text.chars().count());
        assert!(!shown.contains('\x1b'));
    }

    #[test]
    fn colours_can_be_taken_out() {
        assert_eq!(without_colors("a\x1b[36mb\x1b[0mc"), "abc");
        assert_eq!(without_colors("plain"), "plain");
    }

    #[test]
    fn spans_are_cut_to_what_is_there() {
        assert_eq!(on_one_line("ab\ncd", &(1..5)), 1..2);
        assert_eq!(on_one_line("aü", &(2..9)), 1..3);
        assert_eq!(on_one_line("", &(5..9)), 0..0);
    }
}
