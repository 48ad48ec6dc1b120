//! The daemon and the command line of `xvrrp`.
//!
//! From the outside in: [`cli`] reads the command line; [`config`] reads the configuration; [`daemon`]
//! runs. It hears adverts by [`fastpath`] and [`slowpath`], sends them by [`transmit`], moves addresses
//! by [`net`], watches scripts by [`track`], tells others by [`notify`] and [`control`]. What it decides
//! it has from `vrrp-proto`.

pub mod ah;
pub mod arrived;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod fastpath;
pub mod guardian;
mod ledger;
pub mod log;
pub mod net;
pub mod notify;
mod procfs;
pub mod run_dir;
pub mod slowpath;
pub mod status;
mod sys;
mod text;
pub mod track;
pub mod transmit;
pub mod users;
