//! Where the running kernel keeps a field of one of its structures, by its own description of its types.
//!
//! A library would make a table of all of them, a hundred thousand, and none that others could use here
//! reads those of a module. For the offset of a field it is enough to know where each type begins.

use thiserror::Error;

const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_type`, and of `struct btf_member`.
const TYPE: usize = 12;
const MEMBER: usize = 12;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// How deep structures without a name are looked into: in `sk_buff` it takes four.
const DEEPEST: u32 = 8;

/// Why the offset of a field is not known.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum BtfError {
    /// The kernel: its description is not one, or of a later kind than this reader.
    #[error("the kernel's description of its types can't be read: {0}")]
    Malformed(&'static str),
    /// The kernel: it has no such field, or only as a part of a byte.
    #[error("the kernel has no {structure}.{member}")]
    Lacks {
        /// The structure.
        structure: &'static str,
        /// The field.
        member: &'static str,
    },
}

/// Types, as the kernel or one of its modules describes them.
#[derive(Debug)]
pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins, in the order of their numbers.
    begins: Vec<usize>,
    /// The kernel's, for a module's: numbers and strings go on from there.
    base: Option<&'a Self>,
}

/// A type that was found in the bytes.
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    /// How many members, or what else a type has many of.
    count: usize,
    /// Offsets of members have the size of a bit field in their highest byte.
    has_bit_fields: bool,
}

impl<'a> Btf<'a> {
    /// Takes a description apart; that of a module needs the kernel's.
    ///
    /// # Errors
    /// [`BtfError::Malformed`].
    pub(super) fn parse(bytes: &'a [u8], base: Option<&'a Self>) -> Result<Self, BtfError> {
        let magic = bytes.first_chunk().map(|magic| u16::from_ne_bytes(*magic));
        if magic != Some(MAGIC) {
            return Err(BtfError::Malformed("not BTF"));
        }
        let section = |header: usize| {
            let behind = bytes.get(word(bytes, 4)? as usize..)?;
            let begin = word(bytes, header)? as usize;
            behind.get(begin..)?.get(..word(bytes, header + 4)? as usize)
        };
        let types = section(8).ok_or(BtfError::Malformed("no types"))?;
        let strings = section(16).ok_or(BtfError::Malformed("no names"))?;
        let begins = begins(types).ok_or(BtfError::Malformed("a type of an unknown kind"))?;
        Ok(Self { types, strings, begins, base })
    }

    /// Where a field begins in a structure, in bytes; it may be in structures without a name in that.
    ///
    /// # Errors
    /// [`BtfError::Lacks`].
    pub(super) fn offset_of(
        &self,
        structure: &'static str,
        member: &'static str,
    ) -> Result<u32, BtfError> {
        let types = self.begins.iter().filter_map(|at| Type::read(self.types, *at));
        let mut named = types.filter(|one| one.kind == STRUCT && self.is(one.name, structure));
        let bits = named.next().and_then(|one| self.find(&one, member, DEEPEST));
        let whole = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
        whole.ok_or(BtfError::Lacks { structure, member })
    }

    /// Where a field begins in a structure or union, in bits.
    fn find(&self, outer: &Type, member: &str, deep: u32) -> Option<u32> {
        (0..outer.count).find_map(|index| {
            let at = outer.at + TYPE + MEMBER * index;
            let (name, inner) = (word(self.types, at)?, word(self.types, at + 4)?);
            let mut offset = word(self.types, at + 8)?;
            let mut is_bit_field = false;
            if outer.has_bit_fields {
                is_bit_field = offset >> 24 != 0;
                offset &= 0x00ff_ffff;
            }
            if name == 0 && deep > 0 {
                return offset.checked_add(self.find_in(inner, member, deep - 1)?);
            }
            (!is_bit_field && self.is(name, member)).then_some(offset)
        })
    }

    /// The same in the type with that number, where it is one that has fields.
    fn find_in(&self, number: u32, member: &str, deep: u32) -> Option<u32> {
        let mut index = (number as usize).checked_sub(1)?;
        if let Some(base) = self.base {
            let before = base.begins.len();
            if index < before {
                return base.find_in(number, member, deep);
            }
            index -= before;
        }
        let one = Type::read(self.types, *self.begins.get(index)?)?;
        matches!(one.kind, STRUCT | UNION).then(|| self.find(&one, member, deep))?
    }

    /// Whether what is written at that place of the strings is this name.
    fn is(&self, at: u32, name: &str) -> bool {
        let mut at = at as usize;
        if let Some(base) = self.base {
            let before = base.strings.len();
            if at < before {
                return base.is(at as u32, name);
            }
            at -= before;
        }
        let rest = self.strings.get(at..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }
}

impl Type {
    fn read(types: &[u8], at: usize) -> Option<Self> {
        let (name, info) = (word(types, at)?, word(types, at + 4)?);
        // The third word, a size or another type, is not of interest; but it must be there.
        word(types, at + 8)?;
        Some(Self {
            at,
            name,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            has_bit_fields: info >> 31 != 0,
        })
    }

    /// How many bytes it takes, by `linux/btf.h`; nothing for a kind that is not in there yet.
    fn len(&self) -> Option<usize> {
        let more = match self.kind {
            // An integer, a variable, a tag of a declaration.
            1 | 14 | 17 => 4,
            // A pointer, a type's other names and qualities, a function, a float.
            2 | 7..=12 | 16 | 18 => 0,
            // An array.
            3 => 12,
            // Members, variables of a section, values of 64 bits.
            STRUCT | UNION | 15 | 19 => 12 * self.count,
            // Values of 32 bits, parameters.
            6 | 13 => 8 * self.count,
            _ => return None,
        };
        Some(TYPE + more)
    }
}

fn begins(types: &[u8]) -> Option<Vec<usize>> {
    let (mut begins, mut at) = (Vec::new(), 0);
    while at < types.len() {
        begins.push(at);
        at += Type::read(types, at)?.len()?;
    }
    (at == types.len()).then_some(begins)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A description of these types, given word by word, and these strings.
    fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let (type_len, string_len) = (types.len() as u32, strings.len() as u32);
        let header = [24, 0, type_len, type_len, string_len];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        // Version and flags.
        bytes.extend([1, 0]);
        bytes.extend(header.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    const BIT_FIELDS: u32 = 1 << 31;
    const NAMES: &[u8] = b"\0outer\0a\0b\0c\0int\0";
    /// `struct outer { int a; union { int b; struct { int x:4; int c; }; }; }`, the inner ones first.
    const TYPES: [u32; 35] = [
        // 1: an integer
        13,
        1 << 24,
        4,
        32, //
        // 2: an enumeration with one value
        0,
        6 << 24 | 1,
        4,
        0,
        7, //
        // 3: a struct with a bit field and c
        0,
        BIT_FIELDS | STRUCT << 24 | 2,
        8,
        0,
        1,
        4 << 24,
        11,
        1,
        32, //
        // 4: a union of b and 3
        0,
        UNION << 24 | 2,
        8,
        9,
        1,
        0,
        0,
        3,
        0, //
        // 5: the outer struct, but for its last member
        1,
        STRUCT << 24 | 2,
        12,
        7,
        1,
        0,
        0,
        4,
    ];

    fn whole() -> Vec<u8> {
        btf(&[&TYPES[..], &[32]].concat(), NAMES)
    }

    fn lacks(structure: &'static str, member: &'static str) -> Result<u32, BtfError> {
        Err(BtfError::Lacks { structure, member })
    }

    #[test]
    fn fields_are_found_in_structures_without_a_name() {
        let bytes = whole();
        let btf = Btf::parse(&bytes, None).unwrap();
        for (member, at) in [("a", 0), ("b", 4), ("c", 8)] {
            assert_eq!(btf.offset_of("outer", member), Ok(at), "{member}");
        }
        assert_eq!(btf.offset_of("outer", "d"), lacks("outer", "d"));
        assert_eq!(btf.offset_of("oute", "a"), lacks("oute", "a"));
        assert_eq!(btf.offset_of("int", "a"), lacks("int", "a"));
    }

    /// Its numbers and its names go on where the kernel's end.
    #[test]
    fn a_module_knows_the_kernel_s_types() {
        let kernel = whole();
        let kernel = Btf::parse(&kernel, None).unwrap();
        let own = NAMES.len() as u32;
        // `struct more { union 4; int m; }`: the union is the kernel's, "a" too, "m" its own.
        let types = [own + 1, STRUCT << 24 | 3, 16, 0, 4, 0, own + 6, 1, 64, 7, 1, 96];
        let module = btf(&types, b"\0more\0m\0");
        let module = Btf::parse(&module, Some(&kernel)).unwrap();
        for (member, at) in [("b", 0), ("c", 4), ("m", 8), ("a", 12)] {
            assert_eq!(module.offset_of("more", member), Ok(at), "{member}");
        }
        assert_eq!(module.offset_of("outer", "a"), lacks("outer", "a"));
    }

    #[test]
    fn what_is_no_whole_byte_is_not_found() {
        let bytes = btf(
            &[2, BIT_FIELDS | STRUCT << 24 | 2, 4, 4, 9, 3 << 24, 6, 9, 3 << 24 | 8],
            b"\0\0s\0x\0y\0",
        );
        let btf = Btf::parse(&bytes, None).unwrap();
        assert_eq!(btf.offset_of("s", "x"), lacks("s", "x"));
        assert_eq!(btf.offset_of("s", "y"), lacks("s", "y"));
        let odd = btf_with_a_member_at(3);
        assert_eq!(Btf::parse(&odd, None).unwrap().offset_of("s", "x"), lacks("s", "x"));
    }

    fn btf_with_a_member_at(bits: u32) -> Vec<u8> {
        btf(&[1, STRUCT << 24 | 1, 4, 3, 9, bits], b"\0s\0x\0")
    }

    /// A structure in itself, which no compiler makes.
    #[test]
    fn it_comes_to_an_end() {
        let bytes = btf(&[1, STRUCT << 24 | 1, 4, 0, 1, 8], b"\0s\0");
        assert_eq!(Btf::parse(&bytes, None).unwrap().offset_of("s", "x"), lacks("s", "x"));
    }

    #[test]
    fn what_is_not_one_is_said() {
        let malformed = |bytes: &[u8]| Btf::parse(bytes, None).map(drop).unwrap_err();
        assert_eq!(malformed(b"\x7fELF"), BtfError::Malformed("not BTF"));
        let whole = whole();
        assert_eq!(malformed(&whole[..20]), BtfError::Malformed("no types"));
        assert_eq!(malformed(&whole[..40]), BtfError::Malformed("no types"));
        assert_eq!(malformed(&whole[..whole.len() - 1]), BtfError::Malformed("no names"));
        let unknown = btf(&[0, 31 << 24, 0], b"\0");
        assert_eq!(malformed(&unknown), BtfError::Malformed("a type of an unknown kind"));
        let cut = btf(&TYPES, NAMES);
        assert_eq!(malformed(&cut), BtfError::Malformed("a type of an unknown kind"));
    }

    proptest! {
        /// Whatever is in it, it is read or refused.
        #[test]
        fn damaged_ones_are_no_harm(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = whole();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(btf) = Btf::parse(&bytes, None) {
                let _ = btf.offset_of("outer", "c");
            }
        }
    }
}
