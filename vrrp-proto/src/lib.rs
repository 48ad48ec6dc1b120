//! VRRP as a state machine without I/O and without a clock.
//!
//! An [`Engine`] holds the virtual routers of one host. It opens no socket, reads no clock and never
//! waits: the same calls give the same results, so whole networks of engines run inside a test.
//!
//! # Contract
//!
//! Calls come in four kinds:
//!
//! - [`Engine::handle`] takes one [`Input`] with the time it happened, [`Engine::handle_timeout`] the
//!   time it is;
//! - [`Engine::poll_transmit`], [`Engine::poll_effect`], [`Engine::poll_event`] and
//!   [`Engine::poll_watch`] give what is to be done, told and watched, each in its own lane; call each
//!   until it is empty after every input, transmits first: they never wait for an effect;
//! - [`Engine::poll_timeout`] names the one instant at which [`Engine::handle_timeout`] is due;
//! - the rest only looks.
//!
//! Time may stand still but never goes back, except that the stamp of an advert may be earlier than
//! the last call: it arrived while others were handled. Before a late [`Engine::handle_timeout`], every
//! advert that has already arrived must be handed in: the engine listens before it believes a timer.
//!
//! Where something else watches for repeated adverts ([`Watch`]), the engine knows less than has
//! happened: [`Input::Heard`] must come before any other input for that router, and before
//! [`Engine::handle_timeout`].
//!
//! Where adverts can't be sent, the engine is told by [`Input::Sent`], behind the call that gave the advert.
//!
//! Routers may be in a group ([`Input::Groups`]): they become Active in one call, and leave it in one.
//!
//! What the engine never does: speak from Backup, unless one advert is to show whether it can; decide by the order in which inputs of one instant
//! came, let one router's settings touch another's, have a part of a group Active because the rest can't be.

mod beat;
mod deadlines;
mod election;
mod engine;
mod group;
mod router;
mod timers;
mod tracking;

pub mod input;
pub mod output;
pub mod paths;
pub mod settings;

pub use engine::Engine;
pub use group::GroupView;
pub use input::{Advert, GroupId, Health, Input, Link, Outcome, Slot};
pub use output::{Effect, Event, StateName, Transmit, Waited, Watch, Why};
pub use paths::Paths;
pub use router::{Following, Other, Stats, View};
pub use settings::{Settings, TrackerId, VirtualAddress};
