use crate::abi;
use std::error::Error;
use std::time::Duration;

/// What is to become of an event that is not simply done. A plugin's function returns it as its error.
///
/// Any other error becomes one by `?`: the event is tried again, after the backoff of the binding. In a filter, a map, a
/// partitioner or a validator it parks the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub(crate) action: Action,
    pub(crate) after: Duration,
    pub(crate) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Retry,
    Park,
    Skip,
    Stop,
}

impl Action {
    /// The number of an action. A stop has none.
    pub(crate) fn number(self) -> i32 {
        match self {
            Action::Retry => abi::RETRY,
            Action::Skip => abi::SKIP,
            Action::Park | Action::Stop => abi::PARK,
        }
    }
}

fn outcome(action: Action, after: Duration, reason: impl Into<String>) -> Outcome {
    Outcome { action, after, reason: reason.into() }
}

/// Passes an event over: it is done, and counted as skipped.
pub fn skip() -> Outcome {
    outcome(Action::Skip, Duration::ZERO, "skipped")
}

/// Drops what the handler did for the event. It is tried again after a time, or after the backoff of the
/// binding if that is zero.
pub fn retry(after: Duration, reason: impl Into<String>) -> Outcome {
    outcome(Action::Retry, after, reason)
}

/// Drops what the handler did for the event and sets it aside with the reason, until somebody replays or drops
/// it. Those after it go on.
pub fn park(reason: impl Into<String>) -> Outcome {
    outcome(Action::Park, Duration::ZERO, reason)
}

/// Drops what the handler did for the batch, and stops the binding until somebody resumes it.
pub fn stop(reason: impl Into<String>) -> Outcome {
    outcome(Action::Stop, Duration::ZERO, reason)
}

/// Refuses an event that a validator judges. Who appends it gets the reason.
pub fn refuse(reason: impl Into<String>) -> Outcome {
    park(reason)
}

impl<E: Error> From<E> for Outcome {
    fn from(error: E) -> Outcome {
        retry(Duration::ZERO, error.to_string())
    }
}
