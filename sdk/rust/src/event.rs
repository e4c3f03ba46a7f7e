use crate::json::Value;
use std::fmt;

/// The id of an event: a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An event to handle.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Its place in the log.
    pub position: u64,
    /// Its place in its stream.
    pub version: u64,
    /// Its id.
    pub id: Id,
    /// The stream that it is in.
    pub stream: &'a str,
    /// What has happened.
    pub event_type: &'a str,
    /// Its data: JSON, if `is_json`.
    pub data: &'a [u8],
    /// A JSON object, or empty.
    pub metadata: &'a [u8],
    /// 1 for the first.
    pub attempt: u32,
    /// It was parked, and is handled again.
    pub replay: bool,
    /// When it was recorded, in µs since 1970.
    pub time_micros: i64,
    /// The data is JSON.
    pub is_json: bool,
}

impl<'a> Event<'a> {
    /// The data, if it is JSON, and else a value that is missing.
    pub fn json(&self) -> Value<'a> {
        Value::new(if self.is_json { self.data } else { b"" })
    }
}
