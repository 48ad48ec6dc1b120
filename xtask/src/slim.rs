//! Takes out of the kernel program's object what nobody reads who loads it.
//!
//! The linker needs debug information to make BTF from it, and leaves it in the object: seven eighths of
//! that. The daemon would carry it twice, in each of its objects.

use anyhow::{Context as _, Result, ensure};
use object::build::elf::{Builder, SectionData};
use object::elf::{EM_BPF, SHT_REL, SHT_STRTAB};

/// Changes when what is taken out does, so that an object of before is built again.
pub(crate) const VERSION: u32 = 1;

/// The object without debug information, and without the relocations of BTF, which only a linker
/// would need: program, maps, BTF and what the program says of itself stay as they are.
///
/// # Errors
///
/// When it is no object of the kernel's machine, or a program would lose something.
pub(crate) fn slim(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("not an ELF object")?;
    ensure!(elf.header.e_machine == EM_BPF, "not an object for the kernel");
    for section in &mut elf.sections {
        section.delete = is_ballast(&section.name, section.sh_type);
    }
    // The linker has one table for the names of symbols and sections; who writes here wants two.
    if !elf.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = elf.sections.add();
        names.name = ".shstrtab".into();
        (names.sh_type, names.sh_addralign) = (SHT_STRTAB, 1);
        names.data = SectionData::SectionString;
    }
    let mut slim = Vec::new();
    elf.write(&mut slim).context("can't be written without debug information")?;
    Ok(slim)
}

/// Whether a section is read by debuggers and linkers alone.
fn is_ballast(name: &[u8], kind: u32) -> bool {
    let of = name.strip_prefix(b".rel").filter(|_| kind == SHT_REL).unwrap_or(name);
    of.starts_with(b".debug_") || (kind == SHT_REL && of.starts_with(b".BTF"))
}

#[cfg(test)]
mod tests {
    use object::build::elf::{Relocation, Section, Symbol};
    use object::elf::{ET_REL, SHF_ALLOC, SHF_INFO_LINK, SHT_PROGBITS, SHT_SYMTAB};
    use object::read::{
        File, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget,
    };
    use object::{Endianness, RelocationFlags};

    use super::*;

    /// An object as the linker makes them: code that refers to a map, and debug information on both.
    fn built(machine: u16) -> Vec<u8> {
        let mut elf = Builder::new(Endianness::Little, true);
        elf.header.e_machine = machine;
        elf.header.e_type = ET_REL;
        let mut section = |name: &str, kind, flags, data| {
            let section: &mut Section<'_> = elf.sections.add();
            section.name = name.to_owned().into_bytes().into();
            (section.sh_type, section.sh_flags, section.sh_addralign) = (kind, flags, 1);
            section.data = data;
            section.id()
        };
        let bytes = |bytes: &[u8]| SectionData::Data(bytes.to_vec().into());
        let alloc = u64::from(SHF_ALLOC);
        let debug = section(".debug_info", SHT_PROGBITS, 0, bytes(&[1; 900]));
        let maps = section(".maps", SHT_PROGBITS, alloc, bytes(b"a map"));
        let code = section("xdp", SHT_PROGBITS, alloc, bytes(b"the code"));
        let btf = section(".BTF", SHT_PROGBITS, 0, bytes(b"types"));
        let table = section(".symtab", SHT_SYMTAB, 0, SectionData::Symbol);
        section(".strtab", SHT_STRTAB, 0, SectionData::String);
        section(".shstrtab", SHT_STRTAB, 0, SectionData::SectionString);
        let mut symbol = |name: &str, section| {
            let symbol: &mut Symbol<'_> = elf.symbols.add();
            symbol.name = name.to_owned().into_bytes().into();
            symbol.section = Some(section);
            symbol.set_st_info(object::elf::STB_GLOBAL, object::elf::STT_OBJECT);
            symbol.id()
        };
        let (map, of_debug) = (symbol("ROUTERS", maps), symbol("debug", debug));
        for (name, of, symbol) in
            [(".relxdp", code, map), (".rel.debug_info", debug, of_debug), (".rel.BTF", btf, map)]
        {
            let section = elf.sections.add();
            section.name = name.into();
            (section.sh_type, section.sh_flags) = (SHT_REL, SHF_INFO_LINK.into());
            (section.sh_addralign, section.sh_entsize) = (8, 16);
            (section.sh_info_section, section.sh_link_section) = (Some(of), Some(table));
            section.data = SectionData::Relocation(vec![Relocation {
                r_offset: 4,
                symbol: Some(symbol),
                r_type: 1,
                r_addend: 0,
            }]);
        }
        let mut object = Vec::new();
        elf.write(&mut object).unwrap();
        object
    }

    #[test]
    fn what_a_loader_reads_stays_and_the_rest_goes() {
        let before = built(EM_BPF);
        let object = slim(&before).unwrap();
        let file = File::parse(object.as_slice()).unwrap();
        let data = |name| file.section_by_name(name).map(|section| section.data().unwrap());
        assert_eq!(data("xdp"), Some(b"the code".as_slice()));
        assert_eq!(data(".maps"), Some(b"a map".as_slice()));
        assert_eq!(data(".BTF"), Some(b"types".as_slice()));
        for gone in [".debug_info", ".rel.debug_info", ".rel.BTF"] {
            assert!(data(gone).is_none(), "{gone}");
        }
        let code = file.section_by_name("xdp").unwrap();
        let (at, relocation) = code.relocations().next().unwrap();
        assert_eq!(at, 4);
        assert!(matches!(relocation.flags(), RelocationFlags::Elf { r_type: 1 }));
        let RelocationTarget::Symbol(to) = relocation.target() else { panic!("{relocation:?}") };
        let symbol = file.symbol_by_index(to).unwrap();
        assert_eq!(symbol.name(), Ok("ROUTERS"));
        assert_eq!(symbol.section_index(), file.section_by_name(".maps").map(|maps| maps.index()));
        assert!(file.symbols().all(|symbol| symbol.name() != Ok("debug")));
    }

    #[test]
    fn an_object_for_something_else_is_refused() {
        assert!(slim(&built(62)).is_err());
        assert!(slim(b"something else").is_err());
    }
}
