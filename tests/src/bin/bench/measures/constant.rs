//! XDP programs that do nothing but say what becomes of each frame: what any program costs.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::Xdp;
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;

const NAME: &str = "constant";

/// Loads one that does this with every frame.
///
/// # Errors
/// The kernel refuses it.
pub(crate) fn load(action: u32) -> Result<Ebpf> {
    let mut ebpf = Ebpf::load(&object(action)?)?;
    program(&mut ebpf)?.load().context("load a program that only says what becomes of frames")?;
    Ok(ebpf)
}

/// The program itself.
///
/// # Errors
/// There is none.
pub(crate) fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut(NAME).context("no such program")?.try_into()?)
}

fn object(action: u32) -> Result<Vec<u8>> {
    // r0 = action; exit
    let [first, second, third, fourth] = action.to_le_bytes();
    let code = [0xb7, 0, 0, 0, first, second, third, fourth, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    object.append_section_data(section, &code, 8);
    object.add_symbol(Symbol {
        name: NAME.into(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"Dual MIT/GPL\0", 1);
    Ok(object.write()?)
}
