//! What the machine has in memory at its start: programs, their libraries, modules, and the script
//! that runs it all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::RECORDED;
use super::machine::VERDICT;
use crate::run::{output, program, quoted, which};

/// What the laboratory, the daemon and the script below call of busybox.
const APPLETS: [&str; 13] = [
    "cat", "chmod", "echo", "grep", "insmod", "ln", "ls", "mkdir", "mount", "poweroff", "sh",
    "sleep", "stty",
];
const BUSYBOX: &str = "/bin/busybox";
/// What is recorded for this machine to read.
const FRAMES: &str = "/frames.pcap";

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CONSOLE: u32 = 0o020_600;

/// What comes before the first program: without it nothing can be told.
const SETUP: &str = "#!/bin/sh
export PATH=/usr/bin:/bin XVRRP=/usr/bin/xvrrp
mount -t devtmpfs dev /dev && mount -t proc proc /proc && mount -t sysfs sys /sys &&
mount -t tmpfs run /run || poweroff -f
for module in $(cat /modules/order); do insmod $module || poweroff -f; done
status=0
";

/// An initramfs being put together: an archive of cpio's "newc" format.
pub(super) struct Image {
    archive: Vec<u8>,
    there: BTreeSet<PathBuf>,
}

impl Image {
    /// One with nothing but a shell, a console and the mount points.
    ///
    /// # Errors
    ///
    /// When busybox can't be read.
    pub(super) fn new() -> Result<Self> {
        let mut image = Self { archive: Vec::new(), there: BTreeSet::new() };
        for folder in ["/dev", "/etc", "/proc", "/run", "/sys", "/tmp"] {
            image.folder(Path::new(folder));
        }
        image.put("/dev/console".as_ref(), CONSOLE, (5, 1), &[]);
        image.put("/etc/passwd".as_ref(), FILE, (0, 0), b"root:x:0:0::/:/bin/sh\n");
        image.put("/etc/group".as_ref(), FILE, (0, 0), b"root:x:0:\n");
        image.program(Path::new(BUSYBOX), BUSYBOX)?;
        for applet in APPLETS {
            let link = Path::new("/bin").join(applet);
            image.put(&link, LINK, (0, 0), BUSYBOX.as_bytes());
        }
        Ok(image)
    }

    /// Adds a program of this machine by its name, with its libraries.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub(super) fn tool(&mut self, name: &str) -> Result<()> {
        let found = which(name, &["/usr/sbin".into(), "/sbin".into()]);
        let found = found.with_context(|| format!("no {name} here"))?;
        self.program(&found, &format!("/usr/bin/{name}"))
    }

    /// Adds a program, with the libraries that it loads at its start.
    ///
    /// # Errors
    ///
    /// When a file can't be read.
    pub(super) fn program(&mut self, file: &Path, inside: &str) -> Result<()> {
        self.file(file, Path::new(inside), PROGRAM)?;
        // It fails for a program that has none.
        let told = output(program("ldd").arg(file)).unwrap_or_default();
        for library in parse_ldd(&told) {
            self.file(library, library, PROGRAM)?;
        }
        Ok(())
    }

    /// Adds a folder with all that is in it, where it is here.
    ///
    /// # Errors
    ///
    /// When a file can't be read.
    pub(super) fn tree(&mut self, folder: &Path) -> Result<()> {
        self.folder(folder);
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                self.tree(&path)?;
            } else {
                self.file(&path, &path, FILE)?;
            }
        }
        Ok(())
    }

    /// Adds the modules, and the list of them in their order.
    ///
    /// # Errors
    ///
    /// When a file can't be read.
    pub(super) fn modules(&mut self, modules: &[PathBuf]) -> Result<()> {
        let mut list = String::new();
        for module in modules {
            let inside = Path::new("/modules").join(module.file_name().unwrap_or_default());
            self.file(module, &inside, FILE)?;
            list += &format!("{}\n", inside.display());
        }
        self.put("/modules/order".as_ref(), FILE, (0, 0), list.as_bytes());
        Ok(())
    }

    /// Adds the script that the kernel starts: it runs these programs and says how it went.
    pub(super) fn start(&mut self, runs: &[Vec<String>]) {
        self.put("/init".as_ref(), PROGRAM, (0, 0), script(runs).as_bytes());
    }

    /// The archive.
    pub(super) fn close(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.archive
    }

    fn file(&mut self, file: &Path, inside: &Path, mode: u32) -> Result<()> {
        let bytes = fs::read(file).with_context(|| file.display().to_string())?;
        self.put(inside, mode, (0, 0), &bytes);
        Ok(())
    }

    fn folder(&mut self, inside: &Path) {
        self.put(inside, FOLDER, (0, 0), &[]);
    }

    /// Adds what is not there yet, behind the folders that lead to it.
    fn put(&mut self, inside: &Path, mode: u32, device: (u32, u32), bytes: &[u8]) {
        if inside.parent().is_none() || !self.there.insert(inside.to_owned()) {
            return;
        }
        if let Some(parent) = inside.parent() {
            self.folder(parent);
        }
        let name = inside.to_string_lossy();
        self.entry(name.trim_start_matches('/'), mode, device, bytes);
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), bytes: &[u8]) {
        // Inode, mode, owner, group, links, time, size, its device, the device it is, the name's size,
        // a sum. The inode only tells hard links apart, which have more than one link.
        let size = bytes.len() as u32;
        let name_size = name.len() as u32 + 1;
        let fields = [0, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.archive.extend(b"070701");
        for field in fields {
            self.archive.extend(format!("{field:08x}").bytes());
        }
        self.archive.extend(name.bytes());
        self.archive.push(0);
        self.pad();
        self.archive.extend(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}

fn script(runs: &[Vec<String>]) -> String {
    let mut script = format!("{SETUP}export {RECORDED}={FRAMES}\n");
    for words in runs {
        let line = words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ");
        let shown = quoted(format!("  $ {line}").as_ref());
        script += &format!("echo {shown}; {line} || status=$?\n");
    }
    // Bytes as they are, on a line that would make two of each that ends a text's line.
    script += &format!("test ! -e {FRAMES} || {{ stty raw && cat {FRAMES} >&0; }} <> /dev/ttyS2\n");
    script + &format!("echo {VERDICT}$status > /dev/ttyS1\npoweroff -f\n")
}

/// The files behind the arrows, and the loader, which stands alone.
fn parse_ldd(told: &str) -> impl Iterator<Item = &Path> {
    told.lines().filter_map(|line| {
        let line = line.trim();
        let file = line.split_once(" => ").map_or(line, |(_, file)| file);
        file.split_whitespace().next().filter(|file| file.starts_with('/')).map(Path::new)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode, device and bytes.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    /// What an archive has, in order.
    fn read(mut archive: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            let head = std::str::from_utf8(&archive[..110]).unwrap();
            let (magic, fields) = head.split_at(6);
            assert_eq!(magic, "070701");
            let field = |at: usize| u32::from_str_radix(&fields[8 * at..8 * at + 8], 16).unwrap();
            let (name_size, size) = (field(11) as usize, field(6) as usize);
            assert_eq!(archive[110 + name_size - 1], 0);
            let name = String::from_utf8(archive[110..110 + name_size - 1].to_vec()).unwrap();
            let data = (110 + name_size).next_multiple_of(4);
            let bytes = archive[data..data + size].to_vec();
            archive = &archive[(data + size).next_multiple_of(4)..];
            if name == "TRAILER!!!" {
                assert!(archive.is_empty());
                return entries;
            }
            entries.push((name, field(1), (field(9), field(10)), bytes));
        }
    }

    fn empty() -> Image {
        Image { archive: Vec::new(), there: BTreeSet::new() }
    }

    #[test]
    fn a_file_comes_behind_its_folders_and_once() {
        let mut image = empty();
        for bytes in [&b"one"[..], b"other"] {
            image.put("/usr/lib/x.so".as_ref(), PROGRAM, (0, 0), bytes);
        }
        image.put("/usr/x".as_ref(), LINK, (0, 0), b"/usr/lib/x.so");
        image.put("/console".as_ref(), CONSOLE, (5, 1), &[]);
        let expected = [
            ("usr", FOLDER, (0, 0), &b""[..]),
            ("usr/lib", FOLDER, (0, 0), b""),
            ("usr/lib/x.so", PROGRAM, (0, 0), b"one"),
            ("usr/x", LINK, (0, 0), b"/usr/lib/x.so"),
            ("console", CONSOLE, (5, 1), b""),
        ];
        let owned = |(name, mode, device, bytes): (&str, u32, (u32, u32), &[u8])| {
            (name.to_owned(), mode, device, bytes.to_vec())
        };
        assert_eq!(read(&image.close()), expected.map(owned));
    }

    #[test]
    fn the_script_runs_everything_and_keeps_a_failure() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let runs = [words("false"), words("true"), words("true it's")];
        // The lines between those that only the machine can run.
        let script = script(&runs).replace(SETUP, "status=0\n");
        let script = script.replace(" > /dev/ttyS1", "").replace("poweroff -f", "");
        let told = output(program("sh").args(["-c", &script])).unwrap();
        let lines: Vec<_> = told.lines().map(str::trim_start).collect();
        assert_eq!(lines, ["$ false", "$ true", "$ true 'it'\\''s'", &format!("{VERDICT}1")]);
    }

    #[test]
    fn libraries_are_found_among_what_ldd_tells() {
        let told = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f8f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f8e)\n\tlibgone.so => not found\n";
        let found: Vec<_> = parse_ldd(told).collect();
        assert_eq!(
            found,
            [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), "/lib64/ld-linux-x86-64.so.2".as_ref()]
        );
        assert_eq!(parse_ldd("\tnot a dynamic executable\n").count(), 0);
    }
}
