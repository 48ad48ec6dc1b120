//! From the bytes of a file to its text.

/// What a file's bytes turned out to be.
pub(super) enum Decoded {
    /// Text. Bytes that are not UTF-8 became U+FFFD, a byte order mark is gone.
    Text(String),
    /// No text. What could be made of it is there for showing where.
    Binary {
        /// The readable part.
        text: String,
        /// The first byte that can't be, as an offset into `text`.
        at: usize,
        /// It has the mark or the look of UTF-16.
        utf16: bool,
    },
}

/// Decodes a file.
///
/// Comments may hold any encoding, so foreign bytes are replaced and only matter where they stand
/// inside a word. A NUL byte is another matter: an editor does not write it, a crash does.
pub(super) fn decode(bytes: &[u8]) -> Decoded {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes).into_owned();
    let Some(at) = text.find('\0') else {
        return Decoded::Text(text);
    };
    let marked = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    let nuls = bytes.iter().filter(|&&byte| byte == 0).count();
    Decoded::Binary { text, at, utf16: marked || nuls * 3 > bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_and_foreign_bytes_are_no_fault() {
        let Decoded::Text(text) = decode(b"\xef\xbb\xbf# caf\xe9\nrouter_id a") else {
            panic!("it is text");
        };
        assert_eq!(text, "# caf\u{fffd}\nrouter_id a");
    }

    #[test]
    fn nul_is_a_fault_and_utf16_is_named() {
        assert!(matches!(decode(b"ab\0c"), Decoded::Binary { at: 2, utf16: false, .. }));
        assert!(matches!(decode(b"\xff\xfea\0b\0"), Decoded::Binary { utf16: true, .. }));
        assert!(matches!(decode(b"a\0b\0c\0"), Decoded::Binary { utf16: true, .. }));
    }
}
