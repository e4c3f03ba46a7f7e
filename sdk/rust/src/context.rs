use crate::abi::{self, check, Batch, Error};
use crate::event::Event;
use crate::imports;
use crate::json::Value;

/// What a plugin does things with.
#[derive(Default)]
pub struct Context {
    answer: Vec<u8>, // what the host has answered last
    encoded: Vec<u8>,
}

/// The version that a stream has to be at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any.
    Any,
    /// The stream has no events.
    NoStream,
    /// The stream has events.
    StreamExists,
    /// The last event of the stream has this version.
    Version(u64),
}

impl Expected {
    fn number(self) -> i64 {
        match self {
            Expected::Any => -1,
            Expected::NoStream => -2,
            Expected::StreamExists => -3,
            Expected::Version(version) => i64::try_from(version).unwrap_or(i64::MAX),
        }
    }
}

/// An event to append. Its id is made by the host, the same each time the event that it comes of is handled.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewEvent<'a> {
    /// What has happened.
    pub event_type: &'a str,
    /// JSON, unless `binary`.
    pub data: &'a [u8],
    /// A JSON object, or empty.
    pub metadata: &'a [u8],
    /// The data is not JSON.
    pub binary: bool,
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Context {
    /// Appends an event with JSON data to a stream at any version. The binding has to grant append for the
    /// stream.
    pub fn append(&mut self, stream: &str, event_type: &str, data: impl AsRef<[u8]>) -> Result<(), Error> {
        let event = NewEvent { event_type, data: data.as_ref(), ..NewEvent::default() };
        self.append_to(stream, Expected::Any, &[event])
    }

    /// Appends events to a stream, one after the other, if it is at an expected version when the batch is
    /// committed. If it is not, the batch is handled again, and `append_to` may return [`Error::Conflict`] at
    /// once. It takes 1,024 events in a batch, and 3.5 MiB with all other effects.
    pub fn append_to(
        &mut self,
        stream: &str,
        expected: Expected,
        events: &[NewEvent<'_>],
    ) -> Result<(), Error> {
        self.encoded.clear();
        for e in events {
            abi::encode(&mut self.encoded, e.event_type, e.data, e.metadata, e.binary)?;
        }
        check(imports::append(stream, expected.number(), &self.encoded)).map(drop)
    }

    /// The state of the handler's lane.
    pub fn state(&mut self) -> State<'_> {
        State { context: self }
    }

    /// Calls `visit` with up to `limit` events of a stream from a version on, at most 256. The binding has to
    /// grant streams.read. Links to events of streams that it does not grant are passed over. A stream without
    /// events is [`Error::NotFound`].
    pub fn read_stream(
        &mut self,
        stream: &str,
        from: u64,
        limit: usize,
        mut visit: impl FnMut(&Event<'_>),
    ) -> Result<(), Error> {
        let bytes = self.read(|into| imports::stream_read(stream, from, limit, into))?;
        let mut batch = Batch::open(bytes).map_err(|_| Error::Io)?;
        while let Some(event) = batch.next().map_err(|_| Error::Io)? {
            visit(&event);
        }
        Ok(())
    }

    /// A member of the binding's configuration, or all of it for an empty name. It is missing if the
    /// configuration has none.
    pub fn config(&mut self, name: &str) -> Value<'_> {
        Value::new(self.read(|into| imports::config_get(name, into)).unwrap_or(b""))
    }

    /// A secret. The binding has to grant it.
    pub fn secret(&mut self, name: &str) -> Result<String, Error> {
        let value = self.read(|into| imports::secret_get(name, into))?;
        String::from_utf8(value.to_vec()).map_err(|_| Error::Invalid)
    }

    /// Sends a request, a JSON object `{method, url, headers, bodyBase64}`, and waits for the response,
    /// `{status, headers, bodyBase64}`. The binding has to grant the host and port. If the batch is handled
    /// again, so is the request.
    pub fn http(&mut self, request: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        self.read(|into| imports::http(request.as_ref(), into)).map(<[u8]>::to_vec)
    }

    /// Logs the lines of a text. A line has at most 4 KiB, and a batch 64 KiB; what is more is cut.
    pub fn log(&mut self, level: Level, text: impl AsRef<str>) {
        log(level, text.as_ref());
    }

    /// Adds to a counter. A binding has at most 64 counters, gauges and histograms.
    pub fn count(&mut self, name: &str, n: f64) -> Result<(), Error> {
        check(imports::metric(0, name, n)).map(drop)
    }

    /// Sets a gauge.
    pub fn gauge(&mut self, name: &str, value: f64) -> Result<(), Error> {
        check(imports::metric(1, name, value)).map(drop)
    }

    /// Adds a value to a histogram.
    pub fn observe(&mut self, name: &str, value: f64) -> Result<(), Error> {
        check(imports::metric(2, name, value)).map(drop)
    }

    /// The logical time, when the event was recorded, in µs since 1970.
    pub fn now_micros(&mut self) -> i64 {
        imports::now_us()
    }

    /// Fills `into` with bytes that depend on the binding and the event only.
    pub fn random(&mut self, into: &mut [u8]) {
        imports::random(into);
    }

    /// Ends the batch, which fails with a text.
    pub fn fail(&mut self, code: i32, text: &str) -> ! {
        imports::fail(code, text)
    }

    /// What the host answers to `get`, which returns the length of the answer. It is valid until the next read.
    fn read(&mut self, mut get: impl FnMut(&mut [u8]) -> i32) -> Result<&[u8], Error> {
        if self.answer.is_empty() {
            self.answer.resize(FIRST_ANSWER, 0);
        }
        let mut n = check(get(&mut self.answer))?;
        if n > self.answer.len() {
            self.answer.resize(n, 0);
            n = check(get(&mut self.answer))?;
        }
        self.answer.get(..n).ok_or(Error::Io)
    }
}

/// What a filter, a map, a partitioner or a validator may ask and say. It judges an event the same way each time:
/// it knows the event and its configuration, and nothing else.
pub struct Pure<'a> {
    context: &'a mut Context,
}

impl<'a> Pure<'a> {
    pub(crate) fn new(context: &'a mut Context) -> Pure<'a> {
        Pure { context }
    }

    /// A member of the configuration, as [`Context::config`].
    pub fn config(&mut self, name: &str) -> Value<'_> {
        self.context.config(name)
    }

    /// Logs the lines of a text, as [`Context::log`].
    pub fn log(&mut self, level: Level, text: impl AsRef<str>) {
        self.context.log(level, text);
    }
}

/// What a function that answers queries may read. It has no effects: a change of the state is
/// [`Error::Denied`]. Each read is of the moment when it is made.
pub struct View<'a> {
    context: &'a mut Context,
}

impl<'a> View<'a> {
    pub(crate) fn new(context: &'a mut Context) -> View<'a> {
        View { context }
    }

    /// The state of the lane.
    pub fn state(&mut self) -> State<'_> {
        self.context.state()
    }

    /// A member of the configuration, as [`Context::config`].
    pub fn config(&mut self, name: &str) -> Value<'_> {
        self.context.config(name)
    }

    /// Logs the lines of a text. The last warning or error is part of the message of a query that fails.
    pub fn log(&mut self, level: Level, text: impl AsRef<str>) {
        self.context.log(level, text);
    }
}

/// Room for most answers of the host.
const FIRST_ANSWER: usize = 1 << 10;

pub(crate) fn log(level: Level, text: &str) {
    for line in text.split('\n').filter(|l| !l.is_empty()) {
        imports::log(level as i32, line);
    }
}

/// A map from keys to values, which is changed together with the place in the log.
///
/// A key has 1 to 512 bytes, a value at most 256 KiB, and a batch changes at most 4,096. The binding has to
/// grant state. Reads see what was written before.
pub struct State<'a> {
    context: &'a mut Context,
}

/// Room for an entry of the largest size, and a page of small ones.
const SCAN_BYTES: usize = 8 + abi::MAX_KEY_BYTES + abi::MAX_VALUE_BYTES;
const SCAN_ENTRIES: i32 = 1024;

impl State<'_> {
    /// The value of a key.
    pub fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.peek(key)?.map(<[u8]>::to_vec))
    }

    /// [`State::get`] of a value that is valid until the next read.
    pub fn peek(&mut self, key: &str) -> Result<Option<&[u8]>, Error> {
        match self.context.read(|into| imports::state_get(key, into)) {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        check(imports::state_put(key, value.as_ref())).map(drop)
    }

    /// Removes a key. It is no error if there is none.
    pub fn delete(&mut self, key: &str) -> Result<(), Error> {
        check(imports::state_del(key)).map(drop)
    }

    /// A number that [`State::put_int`] or [`State::add`] has stored, or 0 if there is none. A value that is
    /// no number is [`Error::Invalid`].
    pub fn int(&mut self, key: &str) -> Result<i64, Error> {
        match self.peek(key)? {
            None => Ok(0),
            Some(value) => std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()).ok_or(Error::Invalid),
        }
    }

    /// Stores a number, as decimal digits.
    pub fn put_int(&mut self, key: &str, n: i64) -> Result<(), Error> {
        self.put(key, n.to_string())
    }

    /// Adds to a number, and returns the sum.
    pub fn add(&mut self, key: &str, n: i64) -> Result<i64, Error> {
        let sum = self.int(key)?.wrapping_add(n);
        self.put_int(key, sum)?;
        Ok(sum)
    }

    /// Calls `visit` with the entries whose keys begin with a prefix, in the byte order of keys, until it
    /// returns false.
    pub fn scan(&mut self, prefix: &str, mut visit: impl FnMut(&str, &[u8]) -> bool) -> Result<(), Error> {
        let mut page = vec![0; SCAN_BYTES];
        let mut after = String::new();
        loop {
            let n = check(imports::state_scan(prefix, &after, SCAN_ENTRIES, &mut page))?;
            let mut rest = page.get(..n).ok_or(Error::Io)?;
            if rest.is_empty() {
                return Ok(());
            }
            while !rest.is_empty() {
                let (key, value, next) = abi::entry(rest).map_err(|_| Error::Io)?;
                if !visit(key, value) {
                    return Ok(());
                }
                if next.is_empty() {
                    after = key.to_owned();
                }
                rest = next;
            }
        }
    }
}
