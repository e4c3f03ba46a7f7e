//! Runs plugins in unit tests, natively: without a sandbox or a server.
//!
//! ```
//! use gyre_plugin::testing::{Test, TestEvent};
//! use gyre_plugin::{Context, Event, Outcome};
//!
//! fn count(c: &mut Context, e: &Event) -> Result<(), Outcome> {
//!     c.state().add(e.event_type, 1)?;
//!     Ok(())
//! }
//!
//! let mut test = Test::new(count);
//! let done = test.handle(&[TestEvent::new("order-1", "OrderPlaced", r#"{"total":10}"#)]);
//! assert_eq!(test.state("OrderPlaced"), Some("1"));
//! assert!(done.appended.is_empty());
//! ```
//!
//! A [`Test`] handles events as a lane does: what a handler did is kept up to the event that it retries or parks,
//! state and appended events alike. It keeps the limits of a batch, and grants everything; `gyre plugin test` runs
//! the module itself, with what its manifest asks for.

pub(crate) mod host;

use crate::abi;
use crate::abi::Error;
use crate::entry::{self, Handler, Judge, Query};
use crate::event::{Event, Id};
use crate::json::Value;
use crate::Level;
use host::Host;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// An event to handle. It gets the next position, and the next version of its stream.
#[derive(Clone, Debug, Default)]
pub struct TestEvent {
    /// The stream that it is in.
    pub stream: String,
    /// What has happened.
    pub event_type: String,
    /// JSON, unless `binary`.
    pub data: Vec<u8>,
    /// A JSON object, or empty.
    pub metadata: Vec<u8>,
    /// When it was recorded, in µs since 1970; 0 is a fixed day, a second later for each event.
    pub time_micros: i64,
    /// 0 is the first.
    pub attempt: u32,
    /// The data is not JSON.
    pub binary: bool,
    /// It was parked, and is handled again.
    pub replay: bool,
}

impl TestEvent {
    /// An event with JSON data.
    pub fn new(stream: &str, event_type: &str, data: impl AsRef<[u8]>) -> TestEvent {
        TestEvent {
            stream: stream.to_owned(),
            event_type: event_type.to_owned(),
            data: data.as_ref().to_vec(),
            ..TestEvent::default()
        }
    }
}

/// Reads events from a file such as `testdata/events.ndjson`: an object a line, with stream, type, data and metadata, as
/// `gyre import` takes them. It panics if there is no such file.
pub fn load(file: impl AsRef<Path>) -> Vec<TestEvent> {
    let file = file.as_ref();
    let text = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let lines = text.split(|c| *c == b'\n').filter(|line| !line.is_empty());
    let event = |line| {
        let v = Value::new(line);
        let text = |name| v.get(name).text().unwrap_or_default().into_owned();
        TestEvent {
            stream: text("stream"),
            event_type: text("type"),
            data: v.get("data").raw().to_vec(),
            metadata: v.get("metadata").raw().to_vec(),
            ..TestEvent::default()
        }
    };
    lines.map(event).collect()
}

/// What was decided about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is done.
    Ack,
    /// It is done, and counted as skipped.
    Skip,
    /// It is tried again.
    Retry {
        /// After this time.
        after: Duration,
        /// Why.
        reason: String,
    },
    /// It is set aside, with the reason.
    Park(String),
    /// The binding stops.
    Stop,
    /// It was not handled.
    Unhandled,
}

/// An event that a handler appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The index of the event that it comes of, among those that were given to [`Test::handle`].
    pub event: usize,
    /// The stream that it goes to.
    pub stream: String,
    /// The expected version of the stream, as the ABI has it.
    pub expected: i64,
    /// What has happened.
    pub event_type: String,
    /// JSON, unless `binary`.
    pub data: Vec<u8>,
    /// A JSON object, or empty.
    pub metadata: Vec<u8>,
    /// The data is not JSON.
    pub binary: bool,
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its text.
    pub text: String,
}

/// What a handler did with events.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Of each event.
    pub decisions: Vec<Decision>,
    /// In their order.
    pub appended: Vec<Appended>,
    /// In their order.
    pub lines: Vec<Line>,
}

/// A handler with its state.
pub struct Test {
    handler: Handler,
    host: Host,
}

impl Test {
    /// A test of a handler, with no state.
    pub fn new(handler: Handler) -> Test {
        Test { handler, host: Host::default() }
    }

    /// Sets the configuration: a JSON object.
    pub fn set_config(&mut self, config: &str) {
        self.host.config = config.to_owned();
    }

    /// Sets a secret.
    pub fn set_secret(&mut self, name: &str, value: &str) {
        self.host.secrets.insert(name.to_owned(), value.to_owned());
    }

    /// Sets what answers HTTP requests, which else are unsupported.
    pub fn set_http(&mut self, answer: impl Fn(&[u8]) -> Result<Vec<u8>, Error> + 'static) {
        self.host.http = Some(Rc::new(answer));
    }

    /// Sets a key of the state.
    pub fn set_state(&mut self, key: &str, value: impl AsRef<[u8]>) {
        self.host.state.insert(key.to_owned(), value.as_ref().to_vec());
    }

    /// The value of a key that is text.
    pub fn state(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.host.state.get(key)?).ok()
    }

    /// The whole state.
    pub fn all_state(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.host.state
    }

    /// A metric, of all that the test has handled: the sum of a counter, the last value of others.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.host.metrics.get(name).copied()
    }

    /// Asks a query function. The error is its reason.
    pub fn query(&mut self, function: Query, query: &[u8]) -> Result<Vec<u8>, String> {
        self.host.reset(0..0);
        self.host.encoded = query.to_vec();
        host::run(&mut self.host, |length| entry::run_query(function, length));
        match self.host.results.remove(&0) {
            Some(outcome) => match host::decision(&outcome) {
                Decision::Park(reason) => Err(reason),
                _ => Ok(outcome.text),
            },
            None => Err("no answer".to_owned()),
        }
    }

    /// Hands events to the handler, in one batch as long as all goes well. It goes on behind an event that is
    /// parked, and ends at one that is retried or at a stop. The events are added to their streams, which the
    /// handler can read.
    pub fn handle(&mut self, events: &[TestEvent]) -> Done {
        let first = self.host.add(events);
        let mut done = Done { decisions: vec![Decision::Unhandled; events.len()], ..Done::default() };
        let mut next = 0;
        while next < events.len() {
            let end = events.len().min(next + host::MAX_BATCH_EVENTS);
            let finished = self.batch(first + next..first + end, next, &mut done);
            if finished == 0 {
                break;
            }
            next += finished;
        }
        done
    }

    /// Hands out a batch and commits it. It returns after how many events the lane goes on, or 0.
    fn batch(&mut self, events: std::ops::Range<usize>, offset: usize, done: &mut Done) -> usize {
        let count = events.len();
        self.host.reset(events);
        let handler = self.handler;
        let verdict = host::run(&mut self.host, |length| entry::run_handler(handler, length));
        let mut finished = 0;
        let mut goes_on = verdict == abi::DONE;
        if !goes_on {
            done.decisions[offset + self.host.current.unwrap_or(0)] = Decision::Stop;
        }
        while goes_on && finished < count {
            let decision = self.host.results.get(&finished).map_or(Decision::Ack, host::decision);
            let is_undone = matches!(decision, Decision::Park(_) | Decision::Retry { .. });
            goes_on = !matches!(decision, Decision::Retry { .. });
            done.decisions[offset + finished] = decision;
            if is_undone {
                break;
            }
            finished += 1;
        }
        self.host.commit(finished);
        done.lines.append(&mut self.host.lines);
        for mut appended in self.host.appended.drain(..) {
            appended.event += offset;
            done.appended.push(appended);
        }
        if !goes_on {
            return 0;
        }
        count.min(finished + 1)
    }
}

/// What was decided about an event that was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// A filter keeps the event, a validator accepts it, or a map or a partitioner has made its value.
    pub keep: bool,
    /// The data of a map, or the key of a partitioner.
    pub value: Vec<u8>,
    /// Why the event is parked or refused; empty if it is dropped.
    pub reason: String,
}

/// A function that judges events: a filter, a map, a partitioner or a validator.
///
/// ```
/// use gyre_plugin::testing::{JudgeTest, TestEvent};
/// use gyre_plugin::{Event, Outcome, Pure};
///
/// fn large(_: &mut Pure, e: &Event) -> Result<bool, Outcome> {
///     Ok(e.json().get("total").int() >= Some(100))
/// }
///
/// let mut test = JudgeTest::filter(large);
/// assert!(!test.judge(&TestEvent::new("order-1", "OrderPlaced", r#"{"total":10}"#)).keep);
/// ```
pub struct JudgeTest {
    run: Box<dyn Fn(i32) -> i32>,
    host: Host,
}

impl JudgeTest {
    /// A test of a filter.
    pub fn filter(function: Judge<bool>) -> JudgeTest {
        JudgeTest::of(move |length| entry::run_filter(function, length))
    }

    /// A test of a map.
    pub fn map(function: Judge<Vec<u8>>) -> JudgeTest {
        JudgeTest::of(move |length| entry::run_map(function, length))
    }

    /// A test of a partitioner.
    pub fn partition(function: Judge<String>) -> JudgeTest {
        JudgeTest::of(move |length| entry::run_partition(function, length))
    }

    /// A test of a validator.
    pub fn validate(function: Judge<()>) -> JudgeTest {
        JudgeTest::of(move |length| entry::run_validate(function, length))
    }

    fn of(run: impl Fn(i32) -> i32 + 'static) -> JudgeTest {
        JudgeTest { run: Box::new(run), host: Host::default() }
    }

    /// Sets the configuration: a JSON object.
    pub fn set_config(&mut self, config: &str) {
        self.host.config = config.to_owned();
    }

    /// Judges an event.
    pub fn judge(&mut self, event: &TestEvent) -> Verdict {
        let first = self.host.add(std::slice::from_ref(event));
        self.host.reset(first..first + 1);
        host::run(&mut self.host, &self.run);
        match self.host.results.get(&0).map_or(Decision::Unhandled, host::decision) {
            Decision::Ack => {
                Verdict { keep: true, value: self.host.results[&0].text.clone(), reason: String::new() }
            }
            Decision::Park(reason) => Verdict { reason, ..Verdict::default() },
            _ => Verdict::default(),
        }
    }
}

/// The id of the event at a position.
fn id_of(position: u64) -> Id {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&position.to_be_bytes());
    Id(id)
}

/// An event as it is stored.
pub(crate) struct Stored {
    position: u64,
    version: u64,
    event: TestEvent,
}

impl Stored {
    fn view(&self) -> Event<'_> {
        let e = &self.event;
        Event {
            position: self.position,
            version: self.version,
            id: id_of(self.position),
            stream: &e.stream,
            event_type: &e.event_type,
            data: &e.data,
            metadata: &e.metadata,
            attempt: e.attempt.max(1),
            replay: e.replay,
            time_micros: e.time_micros,
            is_json: !e.binary,
        }
    }
}

#[cfg(test)]
mod tests;
