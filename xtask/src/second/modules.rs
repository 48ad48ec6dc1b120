//! The kernel's modules, each behind those that it needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// What the tests need that Debian does not build into the kernel. `crc32c` is what `nf_tables` asks
/// for by what it does, and not by its name.
const WANTED: [&str; 11] = [
    "veth",
    "bridge",
    "macvlan",
    "8021q",
    "bonding",
    "dummy",
    "sch_netem",
    "vrf",
    "ipvlan",
    "crc32c_generic",
    "nf_tables",
];

/// The modules to load, in order, out of all below a folder.
///
/// # Errors
///
/// When one is not there, or is packed.
pub(super) fn ordered(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = BTreeMap::new();
    find(folder, &mut all)?;
    let mut order = Vec::new();
    for name in WANTED {
        add(name, &all, &mut order)?;
    }
    Ok(order)
}

fn add(name: &str, all: &BTreeMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Result<()> {
    let Some(path) = all.get(name) else { bail!("the kernel has no module {name}") };
    if !order.contains(path) {
        for needed in needs(&fs::read(path)?).with_context(|| format!("no module: {name}"))? {
            add(&needed, all, order)?;
        }
        order.push(path.clone());
    }
    Ok(())
}

/// What a module says that it needs: the list behind `depends=` in its table of such strings.
fn needs(module: &[u8]) -> Option<Vec<String>> {
    let mut strings = module.split(|byte| *byte == 0);
    let list = strings.find_map(|string| string.strip_prefix(b"depends="))?;
    let list = std::str::from_utf8(list).ok()?;
    Some(list.split(',').filter(|name| !name.is_empty()).map(plain).collect())
}

/// The kernel takes both signs for the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn find(folder: &Path, all: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, all)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            if let Some(name) = name.strip_suffix(".ko") {
                all.insert(plain(name), path);
            } else if name.contains(".ko.") {
                bail!("{name} is packed: only kernels of Debian 12 can be taken");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_behind_what_it_needs_and_once() {
        let folder = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        let net = folder.join("kernel/net");
        fs::create_dir_all(&net).unwrap();
        let write = |name: &str, needed: &str| {
            let bytes = format!("\x7fELF\0license=GPL\0depends={needed}\0name=x\0");
            fs::write(net.join(format!("{name}.ko")), bytes).unwrap();
        };
        for name in WANTED {
            write(&name.replace('_', "-"), "");
        }
        write("bridge", "stp,llc");
        write("8021q", "garp,stp");
        write("garp", "stp");
        write("stp", "llc");
        write("llc", "");
        let order = ordered(&folder).unwrap();
        let at = |name: &str| {
            let is_it = |path: &PathBuf| path.ends_with(format!("{name}.ko"));
            assert_eq!(order.iter().filter(|path| is_it(path)).count(), 1, "{name}");
            order.iter().position(is_it).unwrap()
        };
        assert!(at("llc") < at("stp") && at("stp") < at("garp") && at("garp") < at("8021q"));
        assert!(at("stp") < at("bridge") && at("sch-netem") > at("veth"));
        fs::remove_file(net.join("llc.ko")).unwrap();
        assert!(ordered(&folder).unwrap_err().to_string().contains("no module llc"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_says_nothing_is_no_module() {
        assert_eq!(needs(b"\x7fELF\0depends=\0"), Some(Vec::new()));
        assert_eq!(needs(b"\x7fELF\0depends=llc,nf-tables\0").unwrap(), ["llc", "nf_tables"]);
        assert_eq!(needs(b"\x7fELF\0license=GPL\0"), None);
    }
}
