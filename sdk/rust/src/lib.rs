//! Plugins in Rust for [Gyre](https://github.com/gyre-events/gyre): code that runs next to the log, in a
//! sandbox. A plugin handles the events of a subscription. What it appends, its state and its place in the
//! log are written together, or not at all, so each event has its effect once.
//!
//! ```
//! use gyre_plugin::{Context, Event, Outcome};
//!
//! fn count(c: &mut Context, e: &Event) -> Result<(), Outcome> {
//!     c.state().add(e.event_type, 1)?;
//!     Ok(())
//! }
//!
//! gyre_plugin::handler!(count);
//! ```
//!
//! A module has one of [`handler!`], [`filter!`], [`map!`], [`partition!`] and [`validate!`]. A projection is
//! a handler that appends nothing; [`query!`] beside it answers queries. `gyre plugin new --lang rust` makes such a crate, `gyre plugin build`
//! makes a module of it, and `gyre plugin deploy` puts it to work. Unit tests run natively, without a sandbox
//! or a server: see `testing`.
//!
//! # Determinism
//!
//! There are no files, no sockets and no clock. [`Context::now_micros`] is the time of the event, and
//! [`Context::random`] depends on the event. A handler that keeps what it knows in its state, not in
//! statics, does the same with the same events, whoever runs it and however they are cut into batches. Statics
//! are a cache at best: they are lost whenever an instance is replaced.
//!
//! A panic logs its message and fails the event, which is tried again as the binding's error policy says.
#![deny(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

mod abi;
mod context;
#[doc(hidden)]
pub mod entry;
mod event;
mod imports;
pub mod json;
mod outcome;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use abi::Error;
pub use context::{Context, Expected, Level, NewEvent, Pure, State, View};
pub use event::{Event, Id};
pub use outcome::{park, refuse, retry, skip, stop, Outcome};
