//! A compiler and a linker that fit each other: found, or else planned and installed.
//!
//! The plan is made from facts by a function without effects, so that what would happen on another
//! machine can be tested on this one.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::apt;
use crate::compiler::{self, Compiler, Unfit};
use crate::linker::{self, LLVMS, Linker};
use crate::run::{cargo, forget, is_root, output, program, run, shell_line, which};

/// The nightly that is fetched where no distribution has a compiler: a dated one, because its LLVM
/// must not be newer than the LLVM that bpf-linker can be built with.
const NIGHTLY: &str = "nightly-2026-05-20";

/// The Debian packages with a compiler and its library sources, the preferred pair first. The first
/// pair is the newer compiler that Debian keeps for its browsers.
const APT_COMPILERS: [[&str; 2]; 2] = [["rustc-web", "rust-web-src"], ["rustc", "rust-src"]];

/// The LLVM of that compiler.
const DEBIANS_LLVM: u32 = 22;

/// What builds the kernel program.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: Linker,
}

/// What is there, and what can be had.
#[derive(Debug, Default)]
struct Facts {
    compilers: Vec<Compiler>,
    linker: Option<Linker>,
    unfit: Vec<Unfit>,
    /// LLVM versions whose development files are installed, with the place, newest first.
    llvms: Vec<Llvm>,
    rustup: bool,
    /// `None` where there is no apt-get.
    apt: Option<Offers>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Llvm {
    major: u32,
    prefix: String,
}

/// What the distribution's package lists have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offers {
    /// The packages of the first compiler that is new enough.
    compiler: Option<[&'static str; 2]>,
    /// Of [`LLVMS`], newest first.
    llvms: Vec<u32>,
}

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Install these packages with a compiler and its sources.
    Compiler([&'static str; 2]),
    /// Fetch [`NIGHTLY`].
    Nightly,
    /// Install the development package of this LLVM.
    Llvm(u32),
    /// Build bpf-linker against this LLVM.
    Linker(Llvm),
}

/// The pair that is here; without one it is installed, or with `install` off only told how.
///
/// # Errors
///
/// When something is missing and can't be, or must not be, installed.
pub(crate) fn ensure(install: bool) -> Result<Toolchain> {
    let mut facts = look();
    if let Some(pair) = facts.pair() {
        return Ok(pair);
    }
    for unfit in &facts.unfit {
        println!("  not usable: {unfit}");
    }
    let steps = plan_with_packages(&mut facts, install).map_err(anyhow::Error::msg)?;
    if !install || (needs_packages(&steps) && !is_root()) {
        tell(&steps);
        bail!(
            "the eBPF toolchain is not complete; these commands, or `cargo xtask build-ebpf` as root, complete it"
        );
    }
    for step in &steps {
        match step.take() {
            // A package that must stay, such as Debian's own rustup, can be in the way.
            Err(error) if matches!(step, Step::Compiler(_)) && facts.rustup => {
                println!("  {error:#}");
                Step::Nightly.take()?;
            }
            done => done?,
        }
    }
    let facts = look();
    facts.pair().with_context(|| {
        let unfit: Vec<_> = facts.unfit.iter().map(ToString::to_string).collect();
        format!("installed, and still no compiler and bpf-linker that fit: {}", unfit.join("; "))
    })
}

/// The plan, for which the package lists are renewed when they matter.
fn plan_with_packages(facts: &mut Facts, install: bool) -> Result<Vec<Step>, String> {
    if facts.apt.is_none() {
        return plan(facts);
    }
    let offered = offers();
    facts.apt = Some(offered.clone());
    match plan(facts) {
        Ok(steps) if !needs_packages(&steps) => return Ok(steps),
        _ if install && is_root() => {
            println!("  the kernel program needs packages: renewing the lists of what there is");
            // Without the network an old list is still better than none.
            if let Err(error) = run(&mut apt::update_command()) {
                println!("  {error:#}");
            }
            facts.apt = Some(offers());
        }
        _ if apt::is_debian() => facts.apt = Some(offered.or_debians()),
        _ => {}
    }
    plan(facts)
}

fn needs_packages(steps: &[Step]) -> bool {
    steps.iter().any(|step| !step.packages().is_empty())
}

impl Facts {
    /// The first compiler whose bitcode the linker reads, with the linker.
    fn pair(&self) -> Option<Toolchain> {
        let linker = self.linker.clone()?;
        let compiler = self.compilers.iter().find(|compiler| linker.reads(compiler))?;
        Some(Toolchain { compiler: compiler.clone(), linker })
    }

    /// An LLVM of this version or newer: an installed one, else one that can be installed.
    fn llvm(&self, oldest: u32) -> Option<(Llvm, Option<Step>)> {
        if let Some(llvm) = self.llvms.iter().find(|llvm| llvm.major >= oldest) {
            return Some((llvm.clone(), None));
        }
        let offered = self.apt.as_ref()?.llvms.iter().copied().find(|major| *major >= oldest)?;
        Some((Llvm::of_debian(offered), Some(Step::Llvm(offered))))
    }
}

impl Offers {
    /// With Debian's own in the gaps: what lists that are old or not there at all will tell after
    /// `apt-get update`.
    fn or_debians(mut self) -> Self {
        self.compiler = self.compiler.or(Some(APT_COMPILERS[0]));
        if self.llvms.is_empty() {
            self.llvms.push(DEBIANS_LLVM);
        }
        self
    }
}

impl Llvm {
    fn of_debian(major: u32) -> Self {
        Self { major, prefix: format!("/usr/lib/llvm-{major}") }
    }
}

fn look() -> Facts {
    let (compilers, mut unfit) = compiler::find();
    let (linker, unfit_linker) = linker::find();
    unfit.extend(unfit_linker);
    Facts {
        compilers,
        linker,
        unfit,
        llvms: installed_llvms(),
        rustup: which("rustup", &[]).is_some(),
        apt: apt::is_here().then(Offers::default),
    }
}

fn installed_llvms() -> Vec<Llvm> {
    let mut found: Vec<_> =
        LLVMS.into_iter().map(Llvm::of_debian).filter(Llvm::is_installed).collect();
    // Elsewhere there is one LLVM, and its llvm-config is in PATH.
    let asked = |flag| output(program("llvm-config").arg(flag));
    if let (Some(version), Some(prefix)) = (asked("--version"), asked("--prefix"))
        && let Some(major) = version.split('.').next().and_then(|m| m.parse().ok())
        && LLVMS.contains(&major)
        && !found.iter().any(|llvm| llvm.major == major)
    {
        found.push(Llvm { major, prefix });
    }
    found.sort_by_key(|llvm| std::cmp::Reverse(llvm.major));
    found
}

impl Llvm {
    fn is_installed(&self) -> bool {
        let prefix = std::path::Path::new(&self.prefix);
        // The first comes with the library, the second with the development package.
        prefix.join("lib/libLLVM.so").exists() && prefix.join("bin/llvm-config").exists()
    }
}

fn offers() -> Offers {
    let llvms = LLVMS.map(|major| (major, format!("llvm-{major}-dev")));
    let mut names: Vec<&str> = APT_COMPILERS.as_flattened().to_vec();
    names.extend(llvms.iter().map(|(_, name)| name.as_str()));
    let found = apt::candidates(&names);
    let fits = |package: &&str| found.get(*package).is_some_and(|v| compiler::new_enough(v));
    Offers {
        compiler: APT_COMPILERS.into_iter().find(|pair| pair.iter().all(fits)),
        llvms: llvms
            .iter()
            .filter(|(_, name)| found.contains_key(name))
            .map(|(major, _)| *major)
            .collect(),
    }
}

/// What completes the toolchain, in order.
fn plan(facts: &Facts) -> Result<Vec<Step>, String> {
    // A compiler that is here and lacks only its linker.
    for compiler in &facts.compilers {
        if let Some((llvm, packages)) = facts.llvm(compiler.llvm) {
            return Ok(packages.into_iter().chain([Step::Linker(llvm)]).collect());
        }
    }
    let offered = facts.apt.as_ref().and_then(|apt| apt.compiler);
    let mut steps = Vec::new();
    if let Some(packages) = offered {
        // Before rustup: the distribution's LLVM is the one that its compiler was built with, and
        // nothing that rustup keeps for other work is touched.
        steps.push(Step::Compiler(packages));
    } else if facts.rustup {
        steps.push(Step::Nightly);
    } else {
        return Err(help());
    }
    // How new its LLVM is shows when it is here: the newest that can be had reads them all.
    let newest = facts.llvms.first().map(|llvm| llvm.major);
    let newest = newest.max(facts.apt.as_ref().and_then(|apt| apt.llvms.first().copied()));
    let linker_is_new = |linker: &Linker| linker.llvm.is_none_or(|llvm| Some(llvm) >= newest);
    if !facts.linker.as_ref().is_some_and(linker_is_new) {
        let (llvm, packages) = newest.and_then(|n| facts.llvm(n)).ok_or_else(help)?;
        steps.extend(packages.into_iter().chain([Step::Linker(llvm)]));
    }
    Ok(steps)
}

fn help() -> String {
    format!(
        "the kernel program needs two things that can't be installed by themselves here:\n\
         1. a Rust compiler, {} or newer, with the sources of `core`, such as\n\
         \x20  rustup toolchain install {NIGHTLY} --profile minimal --component rust-src\n\
         2. bpf-linker, {} or newer, built with the compiler's LLVM or a newer one: from its\n\
         \x20  releases, or from source against your distribution's LLVM ({})",
        env!("CARGO_PKG_RUST_VERSION"),
        linker::VERSION,
        LLVMS.map(|major| major.to_string()).join(", "),
    )
}

fn tell(steps: &[Step]) {
    println!("To be run:");
    if needs_packages(steps) {
        println!("  {}", apt::typed(&apt::update_command()));
    }
    for step in steps {
        println!("  {}", step.typed());
    }
}

impl Step {
    fn packages(&self) -> Vec<String> {
        match self {
            Self::Compiler(packages) => packages.map(str::to_owned).to_vec(),
            Self::Llvm(major) => vec![format!("llvm-{major}-dev")],
            Self::Nightly | Self::Linker(_) => Vec::new(),
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Compiler(_) | Self::Llvm(_) => apt::install_command(&self.packages()),
            Self::Nightly => {
                let mut command = program("rustup");
                command.args(["toolchain", "install", NIGHTLY]);
                command.args(["--profile", "minimal", "--component", "rust-src"]);
                command
            }
            Self::Linker(llvm) => linker_command(llvm),
        }
    }

    fn typed(&self) -> String {
        match self {
            Self::Compiler(_) | Self::Llvm(_) => apt::typed(&self.command()),
            Self::Nightly | Self::Linker(_) => shell_line(&self.command()),
        }
    }

    /// What is installed, and why.
    fn told(&self) -> String {
        let packages = self.packages().join(", ");
        match self {
            Self::Compiler(_) => format!(
                "{packages}: the kernel program needs a compiler with the sources of `core`; this one goes to /usr/bin, and rustup's stays before it in PATH"
            ),
            Self::Nightly => {
                format!("{NIGHTLY}: the kernel program needs a compiler with the sources of `core`")
            }
            Self::Llvm(_) => {
                format!("{packages}: bpf-linker needs an LLVM as new as the compiler's")
            }
            Self::Linker(llvm) => format!(
                "bpf-linker {} with LLVM {}, where cargo installs programs: it links the kernel program (takes a minute or two)",
                linker::VERSION,
                llvm.major
            ),
        }
    }

    fn take(&self) -> Result<()> {
        println!("  installing {}", self.told());
        match self {
            Self::Compiler(_) | Self::Llvm(_) => apt::install(&self.packages()),
            Self::Nightly | Self::Linker(_) => run(&mut self.command()),
        }
    }
}

fn linker_command(llvm: &Llvm) -> Command {
    let mut command = cargo(["install", "bpf-linker", "--version", linker::VERSION, "--locked"]);
    command
        .args(["--force", "--no-default-features", "--features"])
        .arg(format!("llvm-{}", llvm.major));
    // It is a program of its own: nothing that was set for this workspace is meant for it.
    forget(&mut command, |name| {
        name.contains("RUSTFLAGS") || ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"].contains(&name)
    });
    command.env("LLVM_PREFIX", &llvm.prefix);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(llvm: u32) -> Compiler {
        Compiler {
            name: format!("with LLVM {llvm}"),
            rustc: "rustc".into(),
            cargo: "cargo".into(),
            version: String::new(),
            llvm,
        }
    }

    fn linker(llvm: Option<u32>) -> Option<Linker> {
        Some(Linker { path: "bpf-linker".into(), version: linker::VERSION.to_owned(), llvm })
    }

    /// Debian 12 as it comes: nothing installed, both to be had.
    fn debian() -> Facts {
        let apt = Offers { compiler: Some(APT_COMPILERS[0]), llvms: vec![22] };
        Facts { apt: Some(apt), rustup: true, ..Facts::default() }
    }

    fn planned(facts: &Facts) -> Vec<String> {
        let step = |step: &Step| match step {
            Step::Compiler(_) | Step::Llvm(_) => step.packages().join(" "),
            Step::Nightly => NIGHTLY.to_owned(),
            Step::Linker(llvm) => format!("bpf-linker with {}", llvm.prefix),
        };
        plan(facts).unwrap().iter().map(step).collect()
    }

    #[test]
    fn the_first_compiler_that_the_linker_reads_is_taken() {
        let mut facts = Facts { compilers: vec![compiler(23), compiler(22)], ..Facts::default() };
        assert!(facts.pair().is_none(), "no linker");
        facts.linker = linker(Some(22));
        assert_eq!(facts.pair().unwrap().compiler.llvm, 22);
        facts.linker = linker(Some(23));
        assert_eq!(facts.pair().unwrap().compiler.llvm, 23);
        facts.linker = linker(None);
        assert_eq!(facts.pair().unwrap().compiler.llvm, 23, "believed");
        facts.linker = linker(Some(21));
        assert!(facts.pair().is_none(), "too old for both");
    }

    #[test]
    fn on_a_new_debian_everything_comes_from_debian() {
        let all = ["rustc-web rust-web-src", "llvm-22-dev", "bpf-linker with /usr/lib/llvm-22"];
        assert_eq!(planned(&debian()), all);
        let with_linker = Facts { linker: linker(Some(22)), ..debian() };
        assert_eq!(planned(&with_linker), all[..1]);
        let with_old_linker = Facts { linker: linker(Some(21)), ..debian() };
        assert_eq!(planned(&with_old_linker), all);
        let with_llvm = Facts { llvms: vec![Llvm::of_debian(22)], ..debian() };
        assert_eq!(planned(&with_llvm), [all[0], all[2]]);
    }

    #[test]
    fn a_compiler_that_is_here_is_used_if_an_llvm_for_it_can_be_had() {
        let fitting = Facts { compilers: vec![compiler(22)], ..debian() };
        assert_eq!(planned(&fitting), ["llvm-22-dev", "bpf-linker with /usr/lib/llvm-22"]);
        // A nightly with a newer LLVM than Debian's: the linker could not be built for it.
        let too_new = Facts { compilers: vec![compiler(23)], ..debian() };
        assert_eq!(planned(&too_new), planned(&debian()));
    }

    #[test]
    fn elsewhere_rustup_fetches_and_the_installed_llvm_serves() {
        let own = Llvm { major: 22, prefix: "/usr".to_owned() };
        let fedora = Facts { rustup: true, llvms: vec![own], ..Facts::default() };
        assert_eq!(planned(&fedora), [NIGHTLY, "bpf-linker with /usr"]);
        let bare = Facts { rustup: true, ..Facts::default() };
        assert!(plan(&bare).unwrap_err().contains("rustup toolchain install nightly"));
        let without_rustup = Facts { llvms: fedora.llvms, ..Facts::default() };
        assert!(plan(&without_rustup).is_err());
    }
}
