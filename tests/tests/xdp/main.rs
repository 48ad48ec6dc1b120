//! The kernel program by test run: the handed frames, generated ones and damaged ones, each with its
//! action, its record and its counter, and each compared with the slow path's verdict.

mod bench;
mod cost;
mod difference;
mod frames;
mod kinds;
mod reports;
mod routers;
mod verdicts;
mod watch;
