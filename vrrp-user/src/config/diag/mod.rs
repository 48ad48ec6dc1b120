//! What is to be said about a file: where, what is wrong, what happens now, what was meant.

mod code;
mod lines;
mod render;

pub use code::Code;
pub use lines::Lines;
pub use render::{log_lines, place, render};

use super::model::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing to do: a word that is not served, a block that is not ours.
    Notice,
    /// Taken, but perhaps not as it was meant. No reason to refuse a file.
    Warning,
    /// Not taken as written. A reload with such a file keeps the old configuration.
    Error,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diag {
    /// How bad it is.
    pub severity: Severity,
    /// Which message it is, for tests and for looking it up.
    pub code: Code,
    /// The text it is about.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What happens now.
    pub consequence: String,
    /// What was probably meant, or what to write.
    pub suggestion: Option<String>,
    /// Another place that belongs to it, and what it is.
    pub also: Option<(Span, String)>,
}

impl Diag {
    /// A message with nothing but its text.
    pub fn new(severity: Severity, code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            span,
            message: message.into(),
            consequence: String::new(),
            suggestion: None,
            also: None,
        }
    }

    /// An error.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message)
    }

    /// A warning.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message)
    }

    /// A notice.
    pub fn notice(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Notice, code, span, message)
    }

    /// Says what happens now.
    #[must_use]
    pub fn now(mut self, consequence: impl Into<String>) -> Self {
        self.consequence = consequence.into();
        self
    }

    /// Says what to write.
    #[must_use]
    pub fn hint(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Says what to write, where something is known.
    #[must_use]
    pub fn hint_if(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into).or(self.suggestion);
        self
    }

    /// Points to another place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.also = Some((span, text.into()));
        self
    }
}
