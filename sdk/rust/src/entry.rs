//! What the macros are made of: they hand a batch to a plugin's function, event by event.

use crate::abi::{self, Batch, Corrupt};
use crate::context::{log, Context, Level, Pure, View};
use crate::event::Event;
use crate::imports;
use crate::outcome::{Action, Outcome};

/// Registers the handler of a module: a function `fn(&mut Context, &Event) -> Result<(), Outcome>`.
#[macro_export]
macro_rules! handler {
    ($function:expr) => {
        $crate::entry!(gyre_handle, run_handler, Handler, $function);
    };
}

/// Registers the filter of a module: a function `fn(&mut Pure, &Event) -> Result<bool, Outcome>`, which
/// returns whether the event is kept.
#[macro_export]
macro_rules! filter {
    ($function:expr) => {
        $crate::entry!(gyre_filter, run_filter, Judge<bool>, $function);
    };
}

/// Registers the map of a module: a function `fn(&mut Pure, &Event) -> Result<Vec<u8>, Outcome>`, which
/// returns the data that the event is delivered with.
#[macro_export]
macro_rules! map {
    ($function:expr) => {
        $crate::entry!(gyre_map, run_map, Judge<Vec<u8>>, $function);
    };
}

/// Registers the partitioner of a module: a function `fn(&mut Pure, &Event) -> Result<String, Outcome>`,
/// which returns the key of the event's partition.
#[macro_export]
macro_rules! partition {
    ($function:expr) => {
        $crate::entry!(gyre_partition, run_partition, Judge<String>, $function);
    };
}

/// Registers the validator of a module: a function `fn(&mut Pure, &Event) -> Result<(), Outcome>`, which
/// returns [`refuse`](crate::refuse) for an event that must not be appended.
#[macro_export]
macro_rules! validate {
    ($function:expr) => {
        $crate::entry!(gyre_validate, run_validate, Judge<()>, $function);
    };
}

/// Registers what answers queries about the state of a projection or a handler: a function
/// `fn(&mut View, &[u8]) -> Result<Vec<u8>, Outcome>`. A query is a text of at most 64 KiB that means what the
/// plugin says, and the answer has at most 1 MiB; people and other programs expect JSON.
#[macro_export]
macro_rules! query {
    ($function:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn gyre_query(length: i32) -> i32 {
            $crate::entry::run_query($function, length)
        }

        #[cfg(not(target_arch = "wasm32"))]
        const _: $crate::entry::Query = $function;
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! entry {
    ($name:ident, $run:ident, $kind:ident $(<$answer:ty>)?, $function:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn $name(length: i32, _count: i32, _attempt: i32) -> i32 {
            $crate::entry::$run($function, length)
        }

        #[cfg(not(target_arch = "wasm32"))]
        const _: $crate::entry::$kind $(<$answer>)? = $function;
    };
}

#[cfg(target_arch = "wasm32")]
#[no_mangle]
pub extern "C" fn gyre_abi_1() {}

/// A function that handles events.
pub type Handler = fn(&mut Context, &Event<'_>) -> Result<(), Outcome>;

/// A function that judges events.
pub type Judge<T> = fn(&mut Pure<'_>, &Event<'_>) -> Result<T, Outcome>;

pub fn run_handler(function: Handler, length: i32) -> i32 {
    run(length, |c, i, e| match function(c, e) {
        Ok(()) => None,
        Err(outcome) => decide(i, &outcome),
    })
}

/// A function that answers queries.
pub type Query = fn(&mut View<'_>, &[u8]) -> Result<Vec<u8>, Outcome>;

pub fn run_query(function: Query, length: i32) -> i32 {
    report_panics();
    let mut query = vec![0; usize::try_from(length).unwrap_or(0)];
    imports::batch_read(&mut query);
    match function(&mut View::new(&mut Context::default()), &query) {
        Ok(answer) => {
            imports::event_result(0, abi::ACK, 0, &answer);
            abi::DONE
        }
        Err(outcome) => {
            imports::event_result(0, abi::PARK, 0, message(&outcome));
            abi::FAILED
        }
    }
}

/// Tells the host the result of an event. It returns the verdict if the batch ends with it.
fn decide(event: usize, outcome: &Outcome) -> Option<i32> {
    if outcome.action == Action::Stop {
        log(Level::Error, &outcome.reason);
        return Some(abi::STOP);
    }
    let delay = u32::try_from(outcome.after.as_millis()).unwrap_or(u32::MAX);
    imports::event_result(event, outcome.action.number(), delay, message(outcome));
    if outcome.action == Action::Skip {
        return None;
    }
    Some(abi::DONE)
}

/// The reason of an outcome, as much as the host takes.
fn message(outcome: &Outcome) -> &[u8] {
    let reason = outcome.reason.as_bytes();
    &reason[..reason.len().min(abi::MAX_MESSAGE_BYTES)]
}

pub fn run_filter(function: Judge<bool>, length: i32) -> i32 {
    judge(length, function, |kept| (if kept { abi::ACK } else { abi::SKIP }, Vec::new()))
}

pub fn run_map(function: Judge<Vec<u8>>, length: i32) -> i32 {
    judge(length, function, |data| (abi::ACK, data))
}

pub fn run_partition(function: Judge<String>, length: i32) -> i32 {
    judge(length, function, |key| (abi::ACK, key.into_bytes()))
}

pub fn run_validate(function: Judge<()>, length: i32) -> i32 {
    judge(length, function, |()| (abi::ACK, Vec::new()))
}

/// Answers for each event what `action` makes of what the function returned. An error parks the event, or
/// refuses it.
fn judge<T>(length: i32, function: Judge<T>, action: fn(T) -> (i32, Vec<u8>)) -> i32 {
    run(length, |c, i, e| {
        match function(&mut Pure::new(c), e) {
            Ok(answer) => {
                let (action, text) = action(answer);
                imports::event_result(i, action, 0, &text);
            }
            Err(outcome) => imports::event_result(i, abi::PARK, 0, message(&outcome)),
        }
        None
    })
}

/// Reads the batch and handles its events, up to one whose verdict ends it.
fn run(length: i32, handle: impl FnMut(&mut Context, usize, &Event<'_>) -> Option<i32>) -> i32 {
    report_panics();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    if imports::batch_read(&mut bytes) == length {
        if let Ok(verdict) = each(&bytes, handle) {
            return verdict;
        }
    }
    log(Level::Error, "corrupt batch");
    abi::FAILED
}

fn each(
    bytes: &[u8],
    mut handle: impl FnMut(&mut Context, usize, &Event<'_>) -> Option<i32>,
) -> Result<i32, Corrupt> {
    let mut context = Context::default();
    let mut batch = Batch::open(bytes)?;
    let mut index = 0;
    while let Some(event) = batch.next()? {
        imports::event_begin(index);
        if let Some(verdict) = handle(&mut context, index, &event) {
            return Ok(verdict);
        }
        index += 1;
    }
    Ok(abi::DONE)
}

/// Makes a panic end the batch with its message.
#[cfg(target_arch = "wasm32")]
fn report_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let text = panic.to_string();
            log(Level::Error, &text);
            imports::fail(1, &text)
        }));
    });
}

#[cfg(not(target_arch = "wasm32"))]
fn report_panics() {}
