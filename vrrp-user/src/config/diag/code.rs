//! The kinds of message.

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Which message a diagnosis is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Its name, as shown beside the message.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

codes! {
    /// The file is no text.
    NotText = "not-text",
    /// A brace too many or too few.
    Brace = "brace",
    /// A quoted text without an end, or with typographic quotes.
    Quote = "quote",
    /// A character that only looks like a space.
    OddSpace = "odd-space",
    /// The name of a block on the line below its keyword.
    NameBelow = "name-below",
    /// `include`, `@id`, `$NAME` or `~SEQ`.
    NotRead = "not-read",
    /// A word that nobody knows.
    UnknownWord = "unknown-word",
    /// A word that belongs in another block.
    WrongPlace = "wrong-place",
    /// A keyword without its value.
    NoValue = "no-value",
    /// Words behind the last value.
    ExtraWords = "extra-words",
    /// `//`, which is no comment.
    SlashComment = "slash-comment",
    /// Two keywords on one line.
    OneLine = "one-line",
    /// A comment sign that ends a value.
    CutByComment = "cut-by-comment",
    /// A value that is none.
    BadValue = "bad-value",
    /// A value that was changed to one that can be used.
    Changed = "changed",
    /// Something said twice.
    Twice = "twice",
    /// Something that has to be said and is not.
    Missing = "missing",
    /// Two settings that do not go together.
    Conflict = "conflict",
    /// Something that keepalived does and xvrrp does not yet.
    NotServed = "not-served",
    /// A block about LVS.
    Lvs = "lvs",
    /// A name that stands for nothing.
    UnknownName = "unknown-name",
    /// A fault in an address.
    Address = "address",
    /// More addresses than an advert holds.
    TooMany = "too-many",
    /// Authentication where there is none.
    Auth = "auth",
    /// A command that does not mean what it says.
    Command = "command",
    /// A script that can't be run.
    ScriptUnusable = "script-unusable",
    /// A script that others could change.
    ScriptSecurity = "script-security",
    /// Nothing is left to run.
    NothingToRun = "nothing-to-run",
}
