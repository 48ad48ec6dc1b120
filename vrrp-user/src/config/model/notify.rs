//! The commands of instances and sync groups.

use super::Command;

/// The commands to run on a change of state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// `notify_master`.
    pub master: Option<Command>,
    /// `notify_backup`.
    pub backup: Option<Command>,
    /// `notify_fault`.
    pub fault: Option<Command>,
    /// `notify_stop`.
    pub stop: Option<Command>,
    /// `notify_deleted`.
    pub removed: Removed,
    /// `notify`, after the specific one.
    pub any: Option<Command>,
}

impl Notify {
    /// The commands, each with its keyword.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, &Command)> {
        let named = [
            ("notify_master", self.master.as_ref()),
            ("notify_backup", self.backup.as_ref()),
            ("notify_fault", self.fault.as_ref()),
            ("notify_stop", self.stop.as_ref()),
            ("notify_deleted", self.removed.command()),
            ("notify", self.any.as_ref()),
        ];
        named.into_iter().filter_map(|(keyword, command)| Some((keyword, command?)))
    }
}

/// What an instance reports that a reload removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Removed {
    /// FAULT, to `notify` alone.
    #[default]
    Fault,
    /// `notify_deleted`: DELETED, perhaps to a command of its own first.
    Deleted(Option<Command>),
}

impl Removed {
    /// The command of its own.
    pub fn command(&self) -> Option<&Command> {
        match self {
            Self::Fault => None,
            Self::Deleted(command) => command.as_ref(),
        }
    }
}
