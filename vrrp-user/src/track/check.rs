//! What `xvrrp check`, a start and a reload say about the commands of a configuration.

use nix::unistd::{Uid, geteuid};

use super::security::{Policy, ScriptProblem, examine};
use crate::config::model::{Command, UserSpec};
use crate::config::{ScriptChecker, ScriptFault};
use crate::users::UserError;

/// Looks at a configuration's commands. Accounts and files may come over the network: it may take long.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    /// The user that the daemon runs as.
    daemon: Uid,
}

impl Checker {
    /// As a daemon that is root would, whoever asks.
    pub fn of_root() -> Self {
        Self { daemon: Uid::from_raw(0) }
    }

    /// As this process does when it runs them.
    pub fn of_this_daemon() -> Self {
        Self { daemon: geteuid() }
    }
}

impl ScriptChecker for Checker {
    fn check(&self, command: &Command, user: Option<&UserSpec>, strict: bool) -> Vec<ScriptFault> {
        let policy = Policy { user: user.cloned(), enforce: strict, daemon: self.daemon };
        let problems = examine(command, &policy).problems;
        problems.iter().map(|problem| fault(problem, strict)).collect()
    }
}

fn fault(problem: &ScriptProblem, strict: bool) -> ScriptFault {
    ScriptFault {
        security: problem.is_risk(),
        message: problem.to_string(),
        is_run: problem.is_risk() && !strict,
        suggestion: suggestion(problem),
    }
}

fn suggestion(problem: &ScriptProblem) -> Option<String> {
    match problem {
        ScriptProblem::User(UserError::NoUser(name)) => {
            Some(format!("create it with `useradd --system {name}`, or write another user"))
        }
        ScriptProblem::User(UserError::NoGroup(name)) => {
            Some(format!("create it with `groupadd --system {name}`, or write another group"))
        }
        ScriptProblem::NotExecutable { path, .. } => {
            Some(format!("`chmod a+x '{}'`", path.display()))
        }
        ScriptProblem::Insecure { script, element, .. } if script == element => Some(format!(
            "`chown root:root '{0}' && chmod go-w '{0}'`, or run it as another user (`user NAME`)",
            script.display()
        )),
        // Perhaps a directory that is open on purpose, as /tmp is.
        ScriptProblem::Insecure { .. } => Some(
            "move it below directories that only root can change, or run it as another user \
             (`user NAME`)"
                .to_owned(),
        ),
        ScriptProblem::Empty
        | ScriptProblem::User(UserError::GroupNeeded(_) | UserError::Lookup { .. })
        | ScriptProblem::NotInPath(_)
        | ScriptProblem::Missing { .. }
        | ScriptProblem::NotAFile(_)
        | ScriptProblem::Refused { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn check(path: &Path, user: &str, strict: bool) -> Vec<ScriptFault> {
        let command = Command {
            argv: vec![path.to_str().unwrap().to_owned()],
            text: String::new(),
            user: None,
            span: 0..0,
        };
        let user = UserSpec { user: user.to_owned(), group: None };
        Checker::of_root().check(&command, Some(&user), strict)
    }

    #[test]
    fn nothing_is_said_of_a_command_that_is_well() {
        assert_eq!(check(Path::new("/bin/true"), "root", true), []);
    }

    #[test]
    fn what_cannot_be_run_is_no_question_of_security() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("check");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let [fault] = check(&path, "nobody", true).try_into().unwrap();
        assert!(!fault.security);
        assert!(fault.message.ends_with("is not executable by nobody (mode 0644)"), "{fault:?}");
        assert_eq!(fault.suggestion, Some(format!("`chmod a+x '{}'`", path.display())));

        let [fault] = check(Path::new("/bin/true"), "no-such-user", false).try_into().unwrap();
        assert!(!fault.security);
        assert_eq!(fault.message, "user `no-such-user` does not exist");
    }

    #[test]
    fn a_risk_stops_a_command_only_where_security_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let path = directory.path().join("check");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let said = [false, true].map(|strict| {
            let [fault] = check(&path, "root", strict).try_into().unwrap();
            assert!(fault.security);
            fault.is_run
        });
        let [fault] = check(&path, "root", true).try_into().unwrap();
        // The directory is open to others, or is not root's: not to be changed for this.
        assert!(fault.suggestion.is_some_and(|it| it.starts_with("move it")), "{said:?}");
        assert_eq!(said, [true, false]);
    }
}
