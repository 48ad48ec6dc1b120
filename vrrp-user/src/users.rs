//! Whom a script runs as.

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};

use crate::config::model::UserSpec;

/// The account that keepalived's packages make for scripts.
pub const SCRIPT_ACCOUNT: &str = "keepalived_script";

/// A user and its groups, as the kernel wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name, or the number where no name is known; for messages.
    pub name: String,
    /// The user.
    pub uid: Uid,
    /// The primary group.
    pub gid: Gid,
    /// Every group, the primary one among them.
    pub groups: Vec<Gid>,
}

/// Where the choice of an account came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `user` beside the script or command.
    Script,
    /// `script_user` in `global_defs`.
    Global,
    /// [`SCRIPT_ACCOUNT`] exists.
    Package,
    /// Nothing says otherwise: the daemon's own.
    Daemon,
}

/// Why an account can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The configuration names a user that the host doesn't know.
    #[error("user `{0}` does not exist")]
    NoUser(String),
    /// The configuration names a group that the host doesn't know.
    #[error("group `{0}` does not exist")]
    NoGroup(String),
    /// A user by number that the host doesn't know, so that its group must be written.
    #[error("user {0} has no account, so its group must be written too (`user {0} GROUP`)")]
    GroupNeeded(Uid),
    /// The host could not answer.
    #[error("looking up `{name}` failed: {}", .errno.desc())]
    Lookup {
        /// What was asked for.
        name: String,
        /// The host's error.
        errno: Errno,
    },
}

/// Returns the account for a script: `own`, else `global`, else [`SCRIPT_ACCOUNT`], else the
/// daemon's, whose user is `daemon`.
///
/// # Errors
/// If the account that was chosen is not there. No other one is taken instead: a script must
/// not get more rights than were written.
pub fn choose(
    own: Option<&UserSpec>,
    global: Option<&UserSpec>,
    daemon: Uid,
) -> Result<(Account, Origin), UserError> {
    if let Some(spec) = own {
        return resolve(spec).map(|account| (account, Origin::Script));
    }
    if let Some(spec) = global {
        return resolve(spec).map(|account| (account, Origin::Global));
    }
    // A daemon that isn't root can't become somebody else, so it doesn't try unasked.
    if daemon.is_root()
        && let Some(user) = user_by_name(SCRIPT_ACCOUNT)?
    {
        return Ok((of_user(&user, user.gid)?, Origin::Package));
    }
    daemon_account(daemon).map(|account| (account, Origin::Daemon))
}

/// Looks up the account that `spec` names: names first, then numbers.
///
/// # Errors
/// If the user or the group is unknown, or the host can't say.
pub fn resolve(spec: &UserSpec) -> Result<Account, UserError> {
    let group = spec.group.as_deref().map(resolve_group).transpose()?;
    if let Some(user) = user_by_name(&spec.user)? {
        let gid = group.unwrap_or(user.gid);
        return of_user(&user, gid);
    }
    let Ok(number) = spec.user.parse() else {
        return Err(UserError::NoUser(spec.user.clone()));
    };
    let uid = Uid::from_raw(number);
    match (user_by_number(uid)?, group) {
        (Some(user), group) => of_user(&user, group.unwrap_or(user.gid)),
        (None, Some(gid)) => Ok(nameless(uid, gid)),
        (None, None) => Err(UserError::GroupNeeded(uid)),
    }
}

fn daemon_account(daemon: Uid) -> Result<Account, UserError> {
    match user_by_number(daemon)? {
        Some(user) => of_user(&user, user.gid),
        None => Ok(nameless(daemon, getegid())),
    }
}

fn resolve_group(name: &str) -> Result<Gid, UserError> {
    let found = Group::from_name(name).map_err(|errno| lookup(name, errno))?;
    match (found, name.parse()) {
        (Some(group), _) => Ok(group.gid),
        (None, Ok(number)) => Ok(Gid::from_raw(number)),
        (None, Err(_)) => Err(UserError::NoGroup(name.to_owned())),
    }
}

fn of_user(user: &User, gid: Gid) -> Result<Account, UserError> {
    let name = CString::new(user.name.as_str()).map_err(|_| lookup(&user.name, Errno::EINVAL))?;
    Ok(Account {
        name: user.name.clone(),
        uid: user.uid,
        gid,
        groups: getgrouplist(&name, gid).map_err(|errno| lookup(&user.name, errno))?,
    })
}

fn nameless(uid: Uid, gid: Gid) -> Account {
    Account { name: uid.to_string(), uid, gid, groups: vec![gid] }
}

fn user_by_name(name: &str) -> Result<Option<User>, UserError> {
    User::from_name(name).map_err(|errno| lookup(name, errno))
}

fn user_by_number(uid: Uid) -> Result<Option<User>, UserError> {
    User::from_uid(uid).map_err(|errno| lookup(&uid.to_string(), errno))
}

fn lookup(name: &str, errno: Errno) -> UserError {
    UserError::Lookup { name: name.to_owned(), errno }
}

impl Account {
    /// Whether it may do everything.
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// Whether a process of ours runs as this account without a change.
    pub(crate) fn is_ours(&self) -> bool {
        self.uid == geteuid() && self.gid == getegid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(user: &str, group: Option<&str>) -> UserSpec {
        UserSpec { user: user.to_owned(), group: group.map(str::to_owned) }
    }

    #[test]
    fn a_name_and_its_number_are_the_same_account() {
        let by_name = resolve(&spec("root", None)).unwrap();
        assert_eq!(by_name, resolve(&spec("0", None)).unwrap());
        assert!(by_name.is_root());
        assert!(by_name.groups.contains(&Gid::from_raw(0)));
    }

    #[test]
    fn a_written_group_replaces_the_users_own() {
        let account = resolve(&spec("root", Some("daemon"))).unwrap();
        let daemon = Group::from_name("daemon").unwrap().unwrap().gid;
        assert_eq!(account.gid, daemon);
        assert!(account.groups.contains(&daemon));
    }

    #[test]
    fn what_is_unknown_is_named() {
        assert_eq!(
            resolve(&spec("no-such-user", None)),
            Err(UserError::NoUser("no-such-user".to_owned()))
        );
        assert_eq!(
            resolve(&spec("root", Some("no-such-group"))),
            Err(UserError::NoGroup("no-such-group".to_owned()))
        );
    }

    #[test]
    fn a_number_without_account_needs_a_group() {
        let number = "3999999999";
        let uid = Uid::from_raw(3_999_999_999);
        assert_eq!(resolve(&spec(number, None)), Err(UserError::GroupNeeded(uid)));
        let account = resolve(&spec(number, Some("77"))).unwrap();
        assert_eq!((account.uid, account.gid), (uid, Gid::from_raw(77)));
        assert_eq!(account.groups, [Gid::from_raw(77)]);
    }

    #[test]
    fn the_nearest_choice_wins_and_an_unknown_one_is_not_replaced() {
        let root = spec("root", None);
        let missing = spec("no-such-user", None);
        let of = |own, global| choose(own, global, Uid::from_raw(0)).map(|(_, origin)| origin);
        assert_eq!(of(Some(&root), Some(&missing)), Ok(Origin::Script));
        assert_eq!(of(None, Some(&root)), Ok(Origin::Global));
        assert!(matches!(of(Some(&missing), Some(&root)), Err(UserError::NoUser(_))));
        assert!(matches!(of(None, None), Ok(Origin::Package | Origin::Daemon)));
    }

    #[test]
    fn a_daemon_without_rights_runs_scripts_as_itself() {
        let me = Uid::from_raw(3_999_999_999);
        let (account, origin) = choose(None, None, me).unwrap();
        assert_eq!((account.uid, origin), (me, Origin::Daemon));
    }
}
