//! Whether a script can be run, and whether it is safe to.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, geteuid};

pub use super::check::Checker;
use super::process::{Launch, ProcessGroup};
use crate::config::model::{Command, Global, UserSpec};
use crate::users::{self, Account, Origin, UserError};

/// Where bare names are looked for when the daemon has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As many symbolic links as the kernel follows (`MAXSYMLINKS`).
const LINKS: usize = 40;

/// What holds for all scripts of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `script_user`.
    pub user: Option<UserSpec>,
    /// `enable_script_security`: what is not safe is not run.
    pub enforce: bool,
    /// The user that the daemon runs as.
    pub daemon: Uid,
}

/// Something wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptProblem {
    /// There is no program in the command.
    #[error("no program is given")]
    Empty,
    /// Its user can't be used.
    #[error(transparent)]
    User(#[from] UserError),
    /// A name without `/` that no directory of `PATH` has.
    #[error("`{0}` is in no directory of PATH; write its whole path")]
    NotInPath(String),
    /// The file can't be reached.
    #[error("`{}`: {}", .path.display(), .errno.desc())]
    Missing {
        /// The script.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The path is a directory or a device.
    #[error("`{}` is not a file", .0.display())]
    NotAFile(PathBuf),
    /// The user may not execute it, going by its mode.
    #[error("`{}` is not executable by {user} (mode {mode:04o})", .path.display())]
    NotExecutable {
        /// The script.
        path: PathBuf,
        /// The user's name.
        user: String,
        /// The file's permission bits.
        mode: u32,
    },
    /// The kernel would not start it.
    #[error("`{}` can't be started as {user}: {}", .path.display(), .errno.desc())]
    Refused {
        /// The script.
        path: PathBuf,
        /// The user's name.
        user: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// It is run as root, but somebody else could put another in its place.
    #[error("`{}` is run as root, but `{}` can be changed by {by}", .script.display(), .element.display())]
    Insecure {
        /// The script.
        script: PathBuf,
        /// The part of its path, or of a link's target, that is not root's alone.
        element: PathBuf,
        /// By whom.
        by: Writer,
    },
}

/// Who besides root may change a file or a directory's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Its owner, by number.
    Owner(u32),
    /// Its group, by number.
    Group(u32),
    /// Everybody.
    Others,
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Owner(uid) => write!(f, "its owner, uid {uid}"),
            Self::Group(gid) => write!(f, "its group, gid {gid}"),
            Self::Others => f.write_str("everybody"),
        }
    }
}

impl Policy {
    /// For scripts that this process runs.
    pub fn of(global: &Global) -> Self {
        Self {
            user: global.script_user.clone(),
            enforce: global.script_security,
            daemon: geteuid(),
        }
    }
}

impl ScriptProblem {
    /// Whether the script works in spite of it: it is only a risk.
    pub fn is_risk(&self) -> bool {
        matches!(self, Self::Insecure { .. })
    }
}

/// What can be told of a command before it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The program's path, where there is one.
    pub program: Option<PathBuf>,
    /// The account it will run as and what chose it, where there is one.
    pub account: Option<(Account, Origin)>,
    /// What is wrong with it.
    pub problems: Vec<ScriptProblem>,
}

/// Returns everything wrong with `command`; only looks at the host's files and accounts.
pub fn examine(command: &Command, policy: &Policy) -> Examined {
    let mut problems = Vec::new();
    let account = match users::choose(command.user.as_ref(), policy.user.as_ref(), policy.daemon) {
        Ok(chosen) => Some(chosen),
        Err(error) => {
            problems.push(error.into());
            None
        }
    };
    let program = match find(command) {
        Ok(path) => Some(path),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    if let Some(path) = &program {
        let account = account.as_ref().map(|(account, _)| account);
        problems.extend(look_at(path, account));
    }
    Examined { program, account, problems }
}

/// A command that may be run.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    launch: Launch,
    /// What chose its account.
    pub(crate) origin: Origin,
    /// The risks that are taken, since the policy allows them.
    pub(crate) risks: Vec<ScriptProblem>,
    /// What will probably stop it.
    doubts: Vec<ScriptProblem>,
}

/// Makes a command ready to run.
///
/// # Errors
/// If it has no program or no account, or is not safe where `policy` wants that. Whether the
/// file is there and executable is left to the kernel, which alone knows.
pub(crate) fn prepare(command: &Command, policy: &Policy) -> Result<Prepared, ScriptProblem> {
    let Examined { program, account, problems } = examine(command, policy);
    let (mut risks, mut doubts): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(ScriptProblem::is_risk);
    let (Some(program), Some((account, origin))) = (program, account) else {
        return Err(doubts.pop().unwrap_or(ScriptProblem::Empty));
    };
    if policy.enforce && !risks.is_empty() {
        return Err(risks.swap_remove(0));
    }
    let arguments = command.argv.iter().skip(1).cloned().collect();
    Ok(Prepared { launch: Launch { program, arguments, account }, origin, risks, doubts })
}

impl Prepared {
    /// Starts it. Where the process group is dropped before its end, it gets `on_drop`.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn start(&self, on_drop: Signal) -> Result<ProcessGroup, ScriptProblem> {
        ProcessGroup::start(&self.launch, on_drop).map_err(|error| {
            // What was seen before says more than the kernel's one word.
            self.doubts.first().cloned().unwrap_or_else(|| ScriptProblem::Refused {
                path: self.launch.program.clone(),
                user: self.launch.account.name.clone(),
                errno: errno(&error),
            })
        })
    }

    /// The name of its account.
    pub(crate) fn user(&self) -> &str {
        &self.launch.account.name
    }
}

fn find(command: &Command) -> Result<PathBuf, ScriptProblem> {
    let name = command.argv.first().filter(|name| !name.is_empty()).ok_or(ScriptProblem::Empty)?;
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| {
            fs::metadata(candidate).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
        })
        .ok_or_else(|| ScriptProblem::NotInPath(name.clone()))
}

fn look_at(path: &Path, account: Option<&Account>) -> Vec<ScriptProblem> {
    let file = match fs::metadata(path) {
        Ok(file) => file,
        Err(error) => {
            let errno = errno(&error);
            return vec![ScriptProblem::Missing { path: path.to_owned(), errno }];
        }
    };
    if !file.is_file() {
        return vec![ScriptProblem::NotAFile(path.to_owned())];
    }
    let Some(account) = account else { return Vec::new() };
    let mut problems = Vec::new();
    if !may_execute(&file, account) {
        problems.push(ScriptProblem::NotExecutable {
            path: path.to_owned(),
            user: account.name.clone(),
            mode: file.permissions().mode() & 0o7777,
        });
    }
    if account.is_root()
        && let Some((element, by)) = foreign_element(path)
    {
        problems.push(ScriptProblem::Insecure { script: path.to_owned(), element, by });
    }
    problems
}

fn may_execute(file: &Metadata, account: &Account) -> bool {
    let mode = file.mode();
    if account.is_root() {
        mode & 0o111 != 0
    } else if file.uid() == account.uid.as_raw() {
        mode & 0o100 != 0
    } else if account.groups.iter().any(|group| group.as_raw() == file.gid()) {
        mode & 0o010 != 0
    } else {
        mode & 0o001 != 0
    }
}

/// Walks `path` as the kernel does, links included, and returns the first element that somebody
/// besides root may change.
fn foreign_element(path: &Path) -> Option<(PathBuf, Writer)> {
    let absolute = std::path::absolute(path).ok()?;
    let mut todo: VecDeque<OsString> = parts(&absolute);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    // Where root's entries are root's, but nobody's yet are anybody's.
    let mut open = None;
    if let Some(by) = fs::metadata(&here).ok().and_then(|root| writer(&root)) {
        return Some((here, by));
    }
    while let Some(part) = todo.pop_front() {
        if part == OsStr::new("..") {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        let Ok(element) = fs::symlink_metadata(&next) else { return open };
        open = None;
        if element.is_symlink() {
            // A link has no mode of its own; who may replace it is its directory's matter.
            links += 1;
            if links > LINKS {
                return None;
            }
            let target = fs::read_link(&next).ok()?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            let mut rest = parts(&target);
            rest.append(&mut todo);
            todo = rest;
            if element.uid() != 0 {
                return Some((next, Writer::Owner(element.uid())));
            }
            continue;
        }
        match writer(&element) {
            Some(by) if is_sticky_of_root(&element) => open = Some((next.clone(), by)),
            Some(by) => return Some((next, by)),
            None => {}
        }
        here = next;
    }
    None
}

/// A directory of root's in which others may not replace what is not theirs, as `/tmp`.
fn is_sticky_of_root(file: &Metadata) -> bool {
    let sticky = nix::sys::stat::Mode::S_ISVTX.bits();
    file.is_dir() && file.uid() == 0 && file.mode() & sticky != 0
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// An owner counts even without write permission: it may give itself that.
fn writer(file: &Metadata) -> Option<Writer> {
    if file.uid() != 0 {
        Some(Writer::Owner(file.uid()))
    } else if file.mode() & 0o002 != 0 {
        Some(Writer::Others)
    } else if file.mode() & 0o020 != 0 && file.gid() != 0 {
        Some(Writer::Group(file.gid()))
    } else {
        None
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn command(argv: &[&str], user: Option<&str>) -> Command {
        Command {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            text: argv.join(" "),
            user: user.map(|user| UserSpec { user: user.to_owned(), group: None }),
            span: 0..0,
        }
    }

    fn as_root(enforce: bool) -> Policy {
        let user = UserSpec { user: "root".to_owned(), group: None };
        Policy { user: Some(user), enforce, daemon: Uid::from_raw(0) }
    }

    fn problems(argv: &[&str]) -> Vec<ScriptProblem> {
        examine(&command(argv, None), &as_root(false)).problems
    }

    /// A directory with this mode, which is root's where the test is.
    fn open_directory(mode: u32) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        directory
    }

    fn script(directory: &Path, mode: u32) -> String {
        let path = directory.join("check");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_systems_own_program_is_well() {
        assert_eq!(problems(&["/bin/true"]), []);
        let examined = examine(&command(&["true", "x"], None), &as_root(true));
        assert_eq!(examined.problems, []);
        assert!(examined.program.unwrap().is_absolute());
    }

    #[test]
    fn what_cannot_be_run_is_named_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let plain = script(directory.path(), 0o644);
        let missing = format!("{plain}.no");
        let beneath = format!("{plain}/x");

        let said =
            |argv: &[&str]| problems(argv).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(said(&[&missing]), [format!("`{missing}`: No such file or directory")]);
        assert_eq!(said(&[&beneath]), [format!("`{beneath}`: Not a directory")]);
        assert_eq!(said(&["/etc"]), ["`/etc` is not a file"]);
        assert_eq!(said(&[""]), ["no program is given"]);
        assert_eq!(
            said(&["no-such-program"]),
            ["`no-such-program` is in no directory of PATH; write its whole path"]
        );
        assert_eq!(
            problems(&[&plain]).first().map(ToString::to_string),
            Some(format!("`{plain}` is not executable by root (mode 0644)"))
        );
    }

    #[test]
    fn an_unknown_user_is_told_beside_the_file() {
        let examined = examine(&command(&["/no/such"], Some("no-such-user")), &as_root(false));
        let [user, file] = examined.problems.as_slice() else { panic!("{examined:?}") };
        assert_eq!(user.to_string(), "user `no-such-user` does not exist");
        assert_eq!(file.to_string(), "`/no/such`: No such file or directory");
    }

    #[test]
    fn a_path_that_others_can_change_is_refused_only_where_asked() {
        let directory = open_directory(0o777);
        let path = script(directory.path(), 0o755);
        let command = command(&[&path], None);
        let [problem] = problems(&[&path]).try_into().unwrap();
        assert!(matches!(&problem, ScriptProblem::Insecure { .. }) && problem.is_risk());
        assert_eq!(prepare(&command, &as_root(true)).err(), Some(problem.clone()));
        let prepared = prepare(&command, &as_root(false)).unwrap();
        assert_eq!(prepared.risks, [problem]);
    }

    /// As `/tmp`: what is root's there only root can replace. What is not there yet anybody can make.
    #[test]
    fn in_a_sticky_directory_of_root_s_what_is_root_s_stays() {
        let directory = open_directory(0o1777);
        let (path, elsewhere) = (script(directory.path(), 0o755), directory.path().join("other"));
        let open = Some((directory.path().to_owned(), Writer::Others));
        if geteuid().is_root() {
            assert_eq!(foreign_element(Path::new(&path)), None);
            assert_eq!(foreign_element(&elsewhere), open);
            std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
        }
        let (element, by) = foreign_element(Path::new(&path)).unwrap();
        let owner = fs::metadata(&element).unwrap().uid();
        assert_eq!(by, Writer::Owner(owner));
        assert!(owner != 0 && Path::new(&path).starts_with(&element), "{element:?}");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(foreign_element(Path::new(&path)).is_some_and(|(at, _)| at != Path::new(&path)));
    }

    #[test]
    fn a_script_of_another_user_may_lie_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = script(directory.path(), 0o755);
        assert_eq!(examine(&command(&[&path], Some("nobody")), &as_root(true)).problems, []);
    }

    #[test]
    fn a_link_is_followed_to_what_it_hides() {
        let directory = open_directory(0o777);
        let target = script(directory.path(), 0o755);
        let link = directory.path().join("link");
        symlink(&target, &link).unwrap();
        let through = directory.path().join("loop");
        symlink(&through, &through).unwrap();
        let (element, _) = foreign_element(&link).unwrap();
        assert!(target.starts_with(element.to_str().unwrap()), "{element:?}");
        assert_eq!(foreign_element(Path::new("/bin/sh")), None);
        assert!(matches!(
            problems(&[through.to_str().unwrap()])[..],
            [ScriptProblem::Missing { errno: Errno::ELOOP, .. }]
        ));
    }

    #[test]
    fn execution_follows_owner_group_and_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = script(directory.path(), 0o710);
        let file = fs::metadata(&path).unwrap();
        let account = |uid, group| Account {
            name: "x".to_owned(),
            uid: Uid::from_raw(uid),
            gid: nix::unistd::Gid::from_raw(group),
            groups: vec![nix::unistd::Gid::from_raw(group)],
        };
        let stranger = file.uid() + 4000;
        assert!(may_execute(&file, &account(file.uid(), file.gid() + 4000)));
        assert!(may_execute(&file, &account(stranger, file.gid())));
        assert!(!may_execute(&file, &account(stranger, file.gid() + 4000)));
    }
}
