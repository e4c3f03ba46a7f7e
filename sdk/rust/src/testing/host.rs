//! The other side of a plugin's functions: a host in memory.

use super::{Appended, Decision, Line, Stored, TestEvent};
use crate::abi::{self, write, Error};
use crate::context::Level;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, Range};
use std::rc::Rc;
use std::time::Duration;

pub(crate) const MAX_BATCH_EVENTS: usize = 256;
const MAX_WRITES: usize = 4096;
const MAX_APPENDED: usize = 1024;
const MAX_SERIES: usize = 64;
const MAX_LINE_BYTES: usize = 4 << 10;

/// When the event before the first is recorded: 2026-01-01.
const FIRST_DAY: i64 = 1_767_225_600_000_000;

pub(crate) type Http = Rc<dyn Fn(&[u8]) -> Result<Vec<u8>, Error>>;

#[derive(Default)]
pub(crate) struct Host {
    pub(crate) state: BTreeMap<String, Vec<u8>>, // committed
    pub(crate) config: String,
    pub(crate) secrets: HashMap<String, String>,
    pub(crate) http: Option<Http>,
    pub(crate) metrics: HashMap<String, f64>,
    log: Vec<Stored>,

    // Of the batch.
    pub(crate) encoded: Vec<u8>,
    pub(crate) current: Option<usize>,
    pub(crate) results: HashMap<usize, Outcome>,
    pub(crate) appended: Vec<Appended>,
    pub(crate) lines: Vec<Line>,
    events: Range<usize>,
    writes: Vec<Write>,
    staged: BTreeMap<String, Vec<u8>>,
    effects: usize, // bytes
    random: u64,
}

/// What a plugin answered about an event.
pub(crate) struct Outcome {
    action: i32,
    delay_ms: u32,
    pub(crate) text: Vec<u8>,
}

struct Write {
    event: usize,
    key: String,
    value: Option<Vec<u8>>,
}

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Calls `f` with the host of the plugin that runs.
pub(crate) fn with<T>(f: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with(|host| match host.borrow_mut().as_mut() {
        Some(host) => f(host),
        None => panic!("outside of a sandbox a plugin runs in a Test or a JudgeTest only"),
    })
}

/// Runs a plugin on a host, which it gives back.
pub(crate) fn run(host: &mut Host, plugin: impl FnOnce(i32) -> i32) -> i32 {
    let length = host.encoded.len() as i32;
    HOST.with(|place| place.replace(Some(std::mem::take(host))));
    let verdict = plugin(length);
    *host = HOST.with(|place| place.take()).unwrap_or_default();
    verdict
}

/// What is decided by an answer.
pub(crate) fn decision(outcome: &Outcome) -> Decision {
    let reason = String::from_utf8_lossy(&outcome.text).into_owned();
    match outcome.action {
        abi::SKIP => Decision::Skip,
        abi::PARK => Decision::Park(reason),
        abi::RETRY => Decision::Retry { after: Duration::from_millis(outcome.delay_ms.into()), reason },
        _ => Decision::Ack,
    }
}

impl Host {
    /// Adds events to the log, and returns the index of the first.
    pub(crate) fn add(&mut self, events: &[TestEvent]) -> usize {
        let first = self.log.len();
        for event in events {
            let position = self.log.len() as u64 + 1;
            let version = self.of_stream(&event.stream).count() as u64 + 1;
            let mut event = event.clone();
            if event.time_micros == 0 {
                event.time_micros = FIRST_DAY + position as i64 * 1_000_000;
            }
            self.log.push(Stored { position, version, event });
        }
        first
    }

    fn of_stream<'a>(&'a self, stream: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.log.iter().filter(move |s| s.event.stream == stream)
    }

    /// Begins a batch.
    pub(crate) fn reset(&mut self, events: Range<usize>) {
        let views: Vec<_> = self.log[events.clone()].iter().map(Stored::view).collect();
        self.encoded = write::batch(&views);
        self.events = events;
        self.current = None;
        self.results.clear();
        self.appended.clear();
        self.lines.clear();
        self.writes.clear();
        self.staged = self.state.clone();
        self.effects = 0;
    }

    /// Makes the effects of the events before one the state, and forgets those of the others.
    pub(crate) fn commit(&mut self, end: usize) {
        self.appended.retain(|a| a.event < end);
        for write in self.writes.drain(..).filter(|w| w.event < end) {
            match write.value {
                Some(value) => self.state.insert(write.key, value),
                None => self.state.remove(&write.key),
            };
        }
    }

    pub(crate) fn begin(&mut self, index: usize) {
        self.current = Some(index);
        self.random = (self.events.start as u64 + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub(crate) fn result(&mut self, index: usize, action: i32, delay_ms: u32, text: &[u8]) {
        self.results.insert(index, Outcome { action, delay_ms, text: text.to_vec() });
    }

    fn spend(&mut self, n: usize) -> Result<(), Error> {
        if self.effects + n > abi::MAX_EFFECT_BYTES {
            return Err(Error::Quota);
        }
        self.effects += n;
        Ok(())
    }

    pub(crate) fn append(&mut self, stream: &str, expected: i64, events: &[u8]) -> Result<(), Error> {
        let event = self.current.ok_or(Error::Invalid)?;
        let (mut list, mut rest, mut next) = (Vec::new(), events, expected);
        while !rest.is_empty() {
            let (new, after) = write::appended(rest).map_err(|_| Error::Invalid)?;
            if new.event_type.is_empty() || !new.binary && !json::is_valid(&new.data) {
                return Err(Error::Invalid);
            }
            let stream = stream.to_owned();
            let write::Appended { event_type, data, metadata, binary } = new;
            list.push(Appended { event, stream, expected: next, event_type, data, metadata, binary });
            (rest, next) = (after, -3);
        }
        if list.is_empty() || stream.is_empty() || expected < -3 {
            return Err(Error::Invalid);
        }
        if self.appended.len() + list.len() > MAX_APPENDED {
            return Err(Error::Quota);
        }
        self.spend(stream.len() + events.len())?;
        self.appended.append(&mut list);
        Ok(())
    }

    pub(crate) fn write(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Error> {
        check_key(key)?;
        let event = self.current.ok_or(Error::Invalid)?;
        let size = value.map_or(0, <[u8]>::len);
        if size > abi::MAX_VALUE_BYTES {
            return Err(Error::TooLarge);
        }
        if self.writes.len() >= MAX_WRITES {
            return Err(Error::Quota);
        }
        self.spend(key.len() + size)?;
        match value {
            Some(value) => self.staged.insert(key.to_owned(), value.to_vec()),
            None => self.staged.remove(key),
        };
        self.writes.push(Write { event, key: key.to_owned(), value: value.map(<[u8]>::to_vec) });
        Ok(())
    }

    pub(crate) fn get(&self, key: &str) -> Result<Vec<u8>, Error> {
        check_key(key)?;
        self.staged.get(key).cloned().ok_or(Error::NotFound)
    }

    pub(crate) fn scan(&self, prefix: &str, after: &str, limit: i32, size: usize) -> Vec<u8> {
        let mut page = Vec::new();
        let entries = self.staged.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        for (key, value) in entries.filter(|(key, _)| key.starts_with(prefix)).take(limit.max(0) as usize) {
            if page.len() + 8 + key.len() + value.len() > size {
                break;
            }
            page.extend_from_slice(&(key.len() as u32).to_le_bytes());
            page.extend_from_slice(&(value.len() as u32).to_le_bytes());
            page.extend_from_slice(key.as_bytes());
            page.extend_from_slice(value);
        }
        page
    }

    pub(crate) fn read_stream(&self, stream: &str, from: u64, limit: usize) -> Result<Vec<u8>, Error> {
        let mut events = self.of_stream(stream).peekable();
        events.peek().ok_or(Error::NotFound)?;
        let events = events.filter(|s| s.version >= from).take(limit.min(MAX_BATCH_EVENTS));
        Ok(write::batch(&events.map(Stored::view).collect::<Vec<_>>()))
    }

    pub(crate) fn config_of(&self, name: &str) -> Result<Vec<u8>, Error> {
        let config = if self.config.is_empty() { "{}" } else { &self.config };
        let config = crate::json::Value::new(config.as_bytes());
        let value = if name.is_empty() { config } else { config.get(name) };
        if value.exists() {
            return Ok(value.raw().to_vec());
        }
        Err(Error::NotFound)
    }

    pub(crate) fn log(&mut self, level: i32, text: &str) {
        let level = match level {
            0 => Level::Debug,
            1 => Level::Info,
            2 => Level::Warn,
            _ => Level::Error,
        };
        let bytes = &text.as_bytes()[..text.len().min(MAX_LINE_BYTES)];
        self.lines.push(Line { level, text: String::from_utf8_lossy(bytes).into_owned() });
    }

    pub(crate) fn metric(&mut self, kind: i32, name: &str, value: f64) -> Result<(), Error> {
        if name.is_empty() || value.is_nan() {
            return Err(Error::Invalid);
        }
        if !self.metrics.contains_key(name) && self.metrics.len() >= MAX_SERIES {
            return Err(Error::Quota);
        }
        let series = self.metrics.entry(name.to_owned()).or_default();
        *series = if kind == 0 { *series + value } else { value };
        Ok(())
    }

    pub(crate) fn now(&self) -> i64 {
        self.current.map_or(0, |i| self.log[self.events.start + i].event.time_micros)
    }

    pub(crate) fn random(&mut self, into: &mut [u8]) {
        for b in into {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            *b = self.random as u8;
        }
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::Invalid),
        n if n > abi::MAX_KEY_BYTES => Err(Error::TooLarge),
        _ => Ok(()),
    }
}

mod json {
    //! A strict check that a text is JSON, as nodes make it.

    pub(super) fn is_valid(text: &[u8]) -> bool {
        if std::str::from_utf8(text).is_err() {
            return false;
        }
        let mut s = Scanner { rest: text };
        s.value(1000) && s.next_byte().is_none()
    }

    struct Scanner<'a> {
        rest: &'a [u8],
    }

    impl Scanner<'_> {
        /// The next byte that is no space, which is not taken.
        fn next_byte(&mut self) -> Option<u8> {
            while let Some((b' ' | b'\n' | b'\t' | b'\r', after)) = self.rest.split_first() {
                self.rest = after;
            }
            self.rest.first().copied()
        }

        fn take(&mut self, word: &[u8]) -> bool {
            self.rest.strip_prefix(word).map(|after| self.rest = after).is_some()
        }

        fn value(&mut self, depth: usize) -> bool {
            match self.next_byte() {
                _ if depth == 0 => false,
                Some(b'"') => self.string(),
                Some(b'{') => self.items(b'}', |s| {
                    s.next_byte();
                    s.string() && s.next_byte() == Some(b':') && s.take(b":") && s.value(depth - 1)
                }),
                Some(b'[') => self.items(b']', |s| s.value(depth - 1)),
                Some(b'-' | b'0'..=b'9') => self.number(),
                _ => self.take(b"true") || self.take(b"false") || self.take(b"null"),
            }
        }

        fn items(&mut self, close: u8, item: impl Fn(&mut Self) -> bool) -> bool {
            self.rest = &self.rest[1..];
            if self.next_byte() == Some(close) {
                return self.take(&[close]);
            }
            while item(self) {
                if self.next_byte() == Some(close) {
                    return self.take(&[close]);
                }
                if !self.take(b",") {
                    return false;
                }
            }
            false
        }

        fn string(&mut self) -> bool {
            if !self.take(b"\"") {
                return false;
            }
            while let Some((&c, after)) = self.rest.split_first() {
                self.rest = after;
                match c {
                    b'"' => return true,
                    0..=0x1f => return false,
                    b'\\' if !self.escape() => return false,
                    _ => {}
                }
            }
            false
        }

        fn escape(&mut self) -> bool {
            if self.take(b"u") {
                let is_hex = self.rest.len() >= 4 && self.rest[..4].iter().all(u8::is_ascii_hexdigit);
                self.rest = self.rest.get(4..).unwrap_or(b"");
                return is_hex;
            }
            b"\"\\/bfnrt".iter().any(|c| self.take(&[*c]))
        }

        fn digits(&mut self) -> usize {
            let n = self.rest.iter().take_while(|c| c.is_ascii_digit()).count();
            self.rest = &self.rest[n..];
            n
        }

        fn number(&mut self) -> bool {
            self.take(b"-");
            if !self.take(b"0") && self.digits() == 0 {
                return false;
            }
            if self.take(b".") && self.digits() == 0 {
                return false;
            }
            if self.take(b"e") || self.take(b"E") {
                let _ = self.take(b"+") || self.take(b"-");
                return self.digits() > 0;
            }
            true
        }
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn only_json_is_valid() {
            for text in [
                "1",
                " {\"a\" : [1, -0.5e+3 ,true,false,null, \"\\u00e4\\n\"] , \"b\":{}}\n",
                "\"\"",
                "[]",
                "0",
            ] {
                assert!(super::is_valid(text.as_bytes()), "{text}");
            }
            for text in [
                "",
                "{",
                "[1,]",
                "{\"a\"}",
                "{a:1}",
                "01",
                "1.",
                "1e",
                "-",
                "nul",
                "\"\n\"",
                "\"\\x\"",
                "\"\\u12\"",
                "1 2",
                "[1 2]",
                "\"",
                "+1",
            ] {
                assert!(!super::is_valid(text.as_bytes()), "{text}");
            }
            assert!(!super::is_valid(b"\"\xff\""));
            assert!(!super::is_valid("[".repeat(5000).as_bytes()));
        }
    }
}
