//! The bytes of batches and appended events, and the numbers of ABI `gyre_1`.

use crate::event::{Event, Id};
use std::fmt;

/// Why a call did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// An argument, such as a key that is empty.
    Invalid,
    /// The binding does not grant it.
    Denied,
    /// A key, a value or an event.
    TooLarge,
    /// No such stream, member or secret.
    NotFound,
    /// Effects of the batch, or state of the binding.
    Quota,
    /// The lane is closed.
    Closed,
    /// The stream is at another version.
    Conflict,
    /// Input or output failed.
    Io,
    /// By this version of Gyre.
    Unsupported,
    /// An errno that this version of the SDK does not know.
    Unknown(i32),
}

const ERRORS: [Error; 9] = [
    Error::Invalid,
    Error::Denied,
    Error::TooLarge,
    Error::NotFound,
    Error::Quota,
    Error::Closed,
    Error::Conflict,
    Error::Io,
    Error::Unsupported,
];

impl Error {
    /// The error of a negative answer.
    pub(crate) fn of(errno: i32) -> Error {
        let index = -1 - i64::from(errno);
        match usize::try_from(index).ok().and_then(|i| ERRORS.get(i)) {
            Some(error) => *error,
            None => Error::Unknown(errno),
        }
    }

    /// The errno that hosts answer.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn errno(self) -> i32 {
        match self {
            Error::Unknown(errno) => errno,
            known => -1 - ERRORS.iter().position(|e| *e == known).unwrap_or(0) as i32,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Invalid => "invalid argument",
            Error::Denied => "denied",
            Error::TooLarge => "too large",
            Error::NotFound => "not found",
            Error::Quota => "over quota",
            Error::Closed => "closed",
            Error::Conflict => "conflict",
            Error::Io => "input or output failed",
            Error::Unsupported => "unsupported",
            Error::Unknown(_) => "unknown errno",
        })
    }
}

impl std::error::Error for Error {}

/// A length, or the error of a negative answer.
pub(crate) fn check(answer: i32) -> Result<usize, Error> {
    usize::try_from(answer).map_err(|_| Error::of(answer))
}

pub(crate) const ACK: i32 = 0;
pub(crate) const RETRY: i32 = 1;
pub(crate) const PARK: i32 = 2;
pub(crate) const SKIP: i32 = 3;

pub(crate) const DONE: i32 = 0;
pub(crate) const STOP: i32 = 3;
pub(crate) const FAILED: i32 = -1;

pub(crate) const MAX_KEY_BYTES: usize = 512;
pub(crate) const MAX_VALUE_BYTES: usize = 256 << 10;
pub(crate) const MAX_EFFECT_BYTES: usize = 3584 << 10;
pub(crate) const MAX_MESSAGE_BYTES: usize = 4 << 10;

const HEADER_BYTES: usize = 32;
const EVENT_BYTES: usize = 64;
const APPENDED_BYTES: usize = 32;

pub(crate) const FLAG_JSON: u16 = 1 << 0;
pub(crate) const FLAG_REPLAY: u16 = 1 << 1;
const FLAG_TRUNCATED: u16 = 1 << 2;

/// The bytes are not what they say.
#[derive(Debug)]
pub(crate) struct Corrupt;

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Corrupt> {
    let part = bytes.get(at..at + N).ok_or(Corrupt)?;
    <[u8; N]>::try_from(part).map_err(|_| Corrupt)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Corrupt> {
    Ok(u16::from_le_bytes(array(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<usize, Corrupt> {
    Ok(u32::from_le_bytes(array(bytes, at)?) as usize)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Corrupt> {
    Ok(u64::from_le_bytes(array(bytes, at)?))
}

/// Reads the events of a batch.
pub(crate) struct Batch<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Batch<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Batch<'a>, Corrupt> {
        let header = usize::from(u16_at(bytes, 6)?);
        let left = u32_at(bytes, 8)?;
        let is_batch = bytes.starts_with(b"GYB1") && u16_at(bytes, 4)? == 1;
        if !is_batch || header < HEADER_BYTES || header > bytes.len() || u32_at(bytes, 12)? != bytes.len() {
            return Err(Corrupt);
        }
        let rest = &bytes[header..];
        if left > rest.len() / EVENT_BYTES {
            return Err(Corrupt);
        }
        Ok(Batch { rest, left })
    }

    /// Decodes the next event, or returns none after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Event<'a>>, Corrupt> {
        if self.left == 0 {
            return if self.rest.is_empty() { Ok(None) } else { Err(Corrupt) };
        }
        let size = u32_at(self.rest, 0)?;
        if size % 8 != 0 || size < EVENT_BYTES || size > self.rest.len() {
            return Err(Corrupt);
        }
        let (entry, rest) = self.rest.split_at(size);
        self.rest = rest;
        self.left -= 1;
        decode(entry).map(Some)
    }
}

fn decode(entry: &[u8]) -> Result<Event<'_>, Corrupt> {
    let flags = u16_at(entry, 6)?;
    let mut at = usize::from(u16_at(entry, 4)?);
    if at < EVENT_BYTES {
        return Err(Corrupt);
    }
    let mut cut = |size: usize| {
        let end = at.checked_add(size).ok_or(Corrupt)?;
        let part = entry.get(at..end).ok_or(Corrupt)?;
        at = end;
        Ok(part)
    };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Corrupt);
    let stream = text(cut(u16_at(entry, 48)?.into())?)?;
    let event_type = text(cut(u16_at(entry, 50)?.into())?)?;
    let data = cut(u32_at(entry, 52)?)?;
    let metadata = cut(u32_at(entry, 56)?)?;
    Ok(Event {
        position: u64_at(entry, 8)?,
        version: u64_at(entry, 16)?,
        id: Id(array(entry, 32)?),
        stream,
        event_type,
        data,
        metadata,
        attempt: u32::from_le_bytes(array(entry, 60)?),
        replay: flags & FLAG_REPLAY != 0,
        time_micros: i64::from_le_bytes(array(entry, 24)?),
        is_json: flags & (FLAG_JSON | FLAG_TRUNCATED) == FLAG_JSON,
    })
}

/// Encodes an event to append.
pub(crate) fn encode(
    into: &mut Vec<u8>,
    event_type: &str,
    data: &[u8],
    metadata: &[u8],
    binary: bool,
) -> Result<(), Error> {
    let size = APPENDED_BYTES + event_type.len() + data.len() + metadata.len();
    if event_type.len() > usize::from(u16::MAX) || size > MAX_EFFECT_BYTES {
        return Err(Error::TooLarge);
    }
    into.extend_from_slice(&(size as u32).to_le_bytes());
    into.extend_from_slice(&(event_type.len() as u16).to_le_bytes());
    into.extend_from_slice(&u16::from(binary).to_le_bytes());
    into.extend_from_slice(&(data.len() as u32).to_le_bytes());
    into.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
    into.extend_from_slice(&[0; 16]);
    into.extend_from_slice(event_type.as_bytes());
    into.extend_from_slice(data);
    into.extend_from_slice(metadata);
    Ok(())
}

/// Cuts an entry from a page of a scan.
pub(crate) fn entry(page: &[u8]) -> Result<(&str, &[u8], &[u8]), Corrupt> {
    let (key, value) = (u32_at(page, 0)?, u32_at(page, 4)?);
    let body = &page[8..];
    if key > body.len() || value > body.len() - key {
        return Err(Corrupt);
    }
    let (key, rest) = body.split_at(key);
    let (value, rest) = rest.split_at(value);
    Ok((std::str::from_utf8(key).map_err(|_| Corrupt)?, value, rest))
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod write {
    //! The host's side of the bytes, for unit tests.

    use super::*;

    /// Encodes a batch of events.
    pub(crate) fn batch(events: &[Event<'_>]) -> Vec<u8> {
        let mut b = b"GYB1\x01\0\x20\0".to_vec();
        b.extend_from_slice(&(events.len() as u32).to_le_bytes());
        b.extend_from_slice(&[0; 4]); // bytes, known at the end
        b.extend_from_slice(&events.last().map_or(0, |e| e.time_micros).to_le_bytes());
        b.extend_from_slice(&1u32.to_le_bytes());
        b.extend_from_slice(&0u32.to_le_bytes());
        for e in events {
            event(&mut b, e);
        }
        let size = (b.len() as u32).to_le_bytes();
        b[12..16].copy_from_slice(&size);
        b
    }

    fn event(b: &mut Vec<u8>, e: &Event<'_>) {
        let size = EVENT_BYTES + e.stream.len() + e.event_type.len() + e.data.len() + e.metadata.len();
        let size = (size + 7) / 8 * 8;
        let end = b.len() + size;
        let flags = if e.is_json { FLAG_JSON } else { 0 } | if e.replay { FLAG_REPLAY } else { 0 };
        b.extend_from_slice(&(size as u32).to_le_bytes());
        b.extend_from_slice(&(EVENT_BYTES as u16).to_le_bytes());
        b.extend_from_slice(&flags.to_le_bytes());
        b.extend_from_slice(&e.position.to_le_bytes());
        b.extend_from_slice(&e.version.to_le_bytes());
        b.extend_from_slice(&e.time_micros.to_le_bytes());
        b.extend_from_slice(&e.id.0);
        b.extend_from_slice(&(e.stream.len() as u16).to_le_bytes());
        b.extend_from_slice(&(e.event_type.len() as u16).to_le_bytes());
        b.extend_from_slice(&(e.data.len() as u32).to_le_bytes());
        b.extend_from_slice(&(e.metadata.len() as u32).to_le_bytes());
        b.extend_from_slice(&e.attempt.to_le_bytes());
        b.extend_from_slice(e.stream.as_bytes());
        b.extend_from_slice(e.event_type.as_bytes());
        b.extend_from_slice(e.data);
        b.extend_from_slice(e.metadata);
        b.resize(end, 0);
    }

    /// An event that a handler appended.
    pub(crate) struct Appended {
        pub(crate) event_type: String,
        pub(crate) data: Vec<u8>,
        pub(crate) metadata: Vec<u8>,
        pub(crate) binary: bool,
    }

    /// Decodes the first of encoded events, and returns what follows it.
    pub(crate) fn appended(b: &[u8]) -> Result<(Appended, &[u8]), Corrupt> {
        let size = u32_at(b, 0)?;
        if size < APPENDED_BYTES || size > b.len() {
            return Err(Corrupt);
        }
        let (entry, rest) = b.split_at(size);
        let mut at = APPENDED_BYTES;
        let mut cut = |size: usize| {
            let part = entry.get(at..at + size).ok_or(Corrupt)?;
            at += size;
            Ok(part)
        };
        let event_type = cut(u16_at(entry, 4)?.into())?.to_vec();
        let data = cut(u32_at(entry, 8)?)?.to_vec();
        let metadata = cut(u32_at(entry, 12)?)?.to_vec();
        let event_type = String::from_utf8(event_type).map_err(|_| Corrupt)?;
        Ok((Appended { event_type, data, metadata, binary: u16_at(entry, 6)? == 1 }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: Event<'static> = Event {
        position: 41,
        version: 3,
        id: Id([7; 16]),
        stream: "order-1",
        event_type: "OrderPlaced",
        data: b"{\"total\":10}",
        metadata: b"{\"by\":\"ann\"}",
        attempt: 2,
        replay: true,
        time_micros: -1,
        is_json: true,
    };

    #[test]
    fn a_batch_is_read_as_written() {
        let bytes = write::batch(&[EVENT, Event { is_json: false, replay: false, data: &[0, 255], ..EVENT }]);
        let mut batch = Batch::open(&bytes).unwrap();
        let first = batch.next().unwrap().unwrap();
        assert_eq!(format!("{first:?}"), format!("{EVENT:?}"));
        let second = batch.next().unwrap().unwrap();
        assert_eq!((second.data, second.is_json, second.replay), (&[0u8, 255][..], false, false));
        assert!(batch.next().unwrap().is_none());
    }

    // Any byte of a batch may be another, and any part of it missing: reading ends, with or without an error.
    #[test]
    fn bytes_that_are_no_batch_are_refused() {
        let bytes = write::batch(&[EVENT, EVENT]);
        let read = |bytes: &[u8]| -> Result<usize, Corrupt> {
            let mut batch = Batch::open(bytes)?;
            let mut n = 0;
            while batch.next()?.is_some() {
                n += 1;
            }
            Ok(n)
        };
        assert_eq!(read(&bytes).unwrap(), 2);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end} bytes are a batch");
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut other = bytes.clone();
                other[at] = value;
                let _ = read(&other);
            }
        }
    }

    #[test]
    fn errors_have_their_errnos() {
        for errno in -9..0 {
            assert_eq!(Error::of(errno).errno(), errno);
        }
        assert_eq!(Error::of(-10), Error::Unknown(-10));
        assert_eq!(Error::of(i32::MIN), Error::Unknown(i32::MIN));
    }

    #[test]
    fn an_event_that_is_too_large_is_refused() {
        let data = vec![0; MAX_EFFECT_BYTES];
        assert_eq!(encode(&mut Vec::new(), "T", &data, b"", true), Err(Error::TooLarge));
        assert_eq!(encode(&mut Vec::new(), &"T".repeat(70_000), b"1", b"", false), Err(Error::TooLarge));
    }
}
