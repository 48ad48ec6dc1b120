//! What is watched for the instances: scripts.
//!
//! Everything here runs on the service thread. It must be one thread for as long as scripts
//! run: the kernel ends a script when the thread that started it ends.

mod check;
mod checker;
mod child;
pub mod judge;
pub(crate) mod process;
pub mod script;
pub mod security;

pub use judge::Judge;
pub use script::{ScriptReport, ScriptStatus, Scripts};
pub use security::{Policy, ScriptProblem};
