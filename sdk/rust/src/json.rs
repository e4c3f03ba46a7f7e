//! A small reader and writer of JSON. What is read is trusted to be JSON, as the data of events is; of any other
//! bytes it makes something, but never panics.
//!
//! ```
//! use gyre_plugin::json::{Object, Value};
//!
//! let order = Value::new(br#"{"total":10,"customer":{"name":"Ann"}}"#);
//! assert_eq!(order.get("total").int(), Some(10));
//! assert_eq!(order.get("customer").get("name").text().as_deref(), Some("Ann"));
//! assert_eq!(Object::new().text("name", "Ann").int("total", 10).finish(), br#"{"name":"Ann","total":10}"#);
//! ```

use std::borrow::Cow;

/// A JSON value, or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Value<'a> {
    text: &'a [u8], // without spaces around it; empty if there is none
}

impl<'a> Value<'a> {
    /// The value of a text that is known to be JSON.
    pub fn new(text: &'a [u8]) -> Value<'a> {
        let begin = space(text, 0);
        Value { text: &text[begin..skip(text, begin)] }
    }

    /// Whether there is a value. Null is one.
    pub fn exists(&self) -> bool {
        !self.text.is_empty()
    }

    /// Whether the value is null.
    pub fn is_null(&self) -> bool {
        self.text == b"null"
    }

    /// The text of the value, empty if it is missing.
    pub fn raw(&self) -> &'a [u8] {
        self.text
    }

    /// A string. What is not UTF-8 in it is U+FFFD.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let inner = self.text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if inner.contains(&b'\\') {
            return Some(Cow::Owned(unescape(inner)));
        }
        Some(String::from_utf8_lossy(inner))
    }

    /// A number that is whole and fits.
    pub fn int(&self) -> Option<i64> {
        if let Ok(n) = self.number()?.parse() {
            return Some(n);
        }
        let f = self.float()?;
        let fits = f.trunc() == f && f >= i64::MIN as f64 && f < i64::MAX as f64;
        fits.then_some(f as i64)
    }

    /// A number.
    pub fn float(&self) -> Option<f64> {
        self.number()?.parse().ok()
    }

    /// A boolean.
    pub fn bool(&self) -> Option<bool> {
        match self.text {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    fn number(&self) -> Option<&'a str> {
        let first = self.text.first()?;
        if *first != b'-' && !first.is_ascii_digit() {
            return None;
        }
        std::str::from_utf8(self.text).ok()
    }

    /// The member of an object, the first if several have the name.
    pub fn get(&self, name: &str) -> Value<'a> {
        let mut items = Items::of(self.text, b'{');
        while let Some((key, value)) = items.next_member() {
            if key.is(name) {
                return value;
            }
        }
        Value::default()
    }

    /// Whether the value is a string that stands for `text`.
    fn is(&self, text: &str) -> bool {
        let inner = &self.text[1..self.text.len() - 1];
        inner == text.as_bytes() || inner.contains(&b'\\') && self.text().as_deref() == Some(text)
    }

    /// The members of an object, in their order.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        let mut items = Items::of(self.text, b'{');
        std::iter::from_fn(move || {
            let (name, value) = items.next_member()?;
            Some((name.text()?, value))
        })
    }

    /// The elements of an array, in their order.
    pub fn elements(&self) -> impl Iterator<Item = Value<'a>> {
        let mut items = Items::of(self.text, b'[');
        std::iter::from_fn(move || items.next_value())
    }
}

/// The values in a container, one after the other.
struct Items<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Items<'a> {
    fn of(text: &'a [u8], open: u8) -> Items<'a> {
        Items { text, at: if text.first() == Some(&open) { 1 } else { text.len() } }
    }

    fn next_value(&mut self) -> Option<Value<'a>> {
        let mut begin = space(self.text, self.at);
        if self.text.get(begin) == Some(&b',') {
            begin = space(self.text, begin + 1);
        }
        self.at = skip(self.text, begin);
        let text = &self.text[begin..self.at];
        (!text.is_empty()).then_some(Value { text })
    }

    /// A name, which is a string in quotes, and its value.
    fn next_member(&mut self) -> Option<(Value<'a>, Value<'a>)> {
        let name = self.next_value()?;
        self.at = space(self.text, self.at);
        if self.text.get(self.at) != Some(&b':') || !name.text.starts_with(b"\"") || name.text.len() < 2 {
            return None;
        }
        self.at += 1;
        Some((name, self.next_value()?))
    }
}

fn space(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
        at += 1;
    }
    at.min(text.len())
}

/// The place behind a string that begins at a quote.
fn skip_string(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(c) = text.get(at) {
        at += match c {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    text.len()
}

/// The place behind a value.
fn skip(text: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0usize);
    while let Some(c) = text.get(at) {
        match c {
            b'"' => at = skip_string(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' | b',' | b':' | b' ' | b'\n' | b'\t' | b'\r' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ => {
                at += 1;
                continue; // a literal goes on
            }
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn unescape(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        if c != b'\\' {
            out.push(c);
            continue;
        }
        let (&escape, after) = match rest.split_first() {
            Some(parts) => parts,
            None => break,
        };
        rest = after;
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut utf8 = [0; 4];
                out.extend_from_slice(unicode(&mut rest).encode_utf8(&mut utf8).as_bytes());
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What follows `\u`, with the second half of a pair. Half a pair is U+FFFD.
fn unicode(rest: &mut &[u8]) -> char {
    let first = match hex4(rest) {
        Some(unit) => unit,
        None => return char::REPLACEMENT_CHARACTER,
    };
    *rest = &rest[4..];
    if let Some(second) = rest.strip_prefix(b"\\u").and_then(hex4) {
        if let Some(Ok(c)) = char::decode_utf16([first, second]).next() {
            if (0xd800..0xdc00).contains(&first) {
                *rest = &rest[6..];
            }
            return c;
        }
    }
    char::from_u32(first.into()).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn hex4(text: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(text.get(..4)?).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// Writes a JSON object.
#[derive(Clone, Debug, Default)]
pub struct Object {
    text: Vec<u8>,
}

impl Object {
    /// An object without members.
    pub fn new() -> Object {
        Object::default()
    }

    /// Adds a string.
    pub fn text(self, name: &str, value: &str) -> Object {
        let mut o = self.name(name);
        quote(&mut o.text, value);
        o
    }

    /// Adds a whole number.
    pub fn int(self, name: &str, value: i64) -> Object {
        self.raw(name, value.to_string())
    }

    /// Adds a number. One that JSON does not have is null.
    pub fn float(self, name: &str, value: f64) -> Object {
        if value.is_finite() {
            return self.raw(name, value.to_string());
        }
        self.raw(name, "null")
    }

    /// Adds a boolean.
    pub fn bool(self, name: &str, value: bool) -> Object {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// Adds a value that is JSON. An empty one is null.
    pub fn raw(self, name: &str, json: impl AsRef<[u8]>) -> Object {
        let mut o = self.name(name);
        let json = json.as_ref();
        o.text.extend_from_slice(if json.is_empty() { b"null" } else { json });
        o
    }

    /// The text of the object.
    pub fn finish(mut self) -> Vec<u8> {
        if self.text.is_empty() {
            self.text.push(b'{');
        }
        self.text.push(b'}');
        self.text
    }

    fn name(mut self, name: &str) -> Object {
        self.text.push(if self.text.is_empty() { b'{' } else { b',' });
        quote(&mut self.text, name);
        self.text.push(b':');
        self
    }
}

fn quote(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.bytes() {
        match c {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', c]),
            0..=0x1f => out.extend_from_slice(format!("\\u{c:04x}").as_bytes()),
            _ => out.push(c),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#" { "a" : -12 , "b":[1, "x,]}\"", {"c":null} ,[] ], "a":2, "n\u00e4":true,"f":1.5e3,"s":"\ud83d\ude00\n\u0041\ud800","e":{} } "#;

    #[test]
    fn values_are_found() {
        let v = Value::new(TEXT.as_bytes());
        assert_eq!(v.get("a").int(), Some(-12));
        assert_eq!(v.get("nä").bool(), Some(true));
        assert_eq!(v.get("f").int(), Some(1500));
        assert_eq!(v.get("s").text().as_deref(), Some("😀\nA\u{fffd}"));
        assert_eq!(v.get("e").raw(), b"{}");
        assert!(!v.get("none").exists() && !v.get("a").get("b").exists());
        let b: Vec<_> = v.get("b").elements().map(|e| e.raw()).collect();
        assert_eq!(b, [&b"1"[..], br#""x,]}\"""#, br#"{"c":null}"#, b"[]"]);
        assert!(v.get("b").elements().nth(2).unwrap().get("c").is_null());
        assert_eq!(v.members().count(), 7);
    }

    #[test]
    fn numbers_that_do_not_fit_are_none() {
        for (text, want) in [
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1.0", Some(1)),
            ("1.5", None),
            ("\"1\"", None),
            ("null", None),
            ("", None),
            ("1e400", None),
        ] {
            assert_eq!(Value::new(text.as_bytes()).int(), want, "{text}");
        }
    }

    // Any bytes are read to an end.
    #[test]
    fn what_is_no_json_does_not_panic() {
        fn walk(v: Value<'_>, depth: usize) {
            let _ = (v.text(), v.int(), v.float(), v.bool());
            if depth > 0 {
                v.elements().for_each(|e| walk(e, depth - 1));
                v.members().for_each(|(_, e)| walk(e, depth - 1));
            }
        }
        for end in 0..TEXT.len() {
            for begin in 0..end {
                walk(Value::new(&TEXT.as_bytes()[begin..end]), 4);
            }
        }
        for at in 0..TEXT.len() {
            for c in *b"{}[]\",:\\u\xff0" {
                let mut text = TEXT.as_bytes().to_vec();
                text[at] = c;
                walk(Value::new(&text), 4);
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = Object::new()
            .text("t", "a\"\\\n😀")
            .int("i", i64::MIN)
            .float("f", 0.25)
            .float("inf", f64::INFINITY)
            .bool("b", false)
            .raw("r", "")
            .finish();
        let v = Value::new(&text);
        assert_eq!(v.get("t").text().as_deref(), Some("a\"\\\n😀"));
        assert_eq!(v.get("i").int(), Some(i64::MIN));
        assert_eq!(v.get("f").float(), Some(0.25));
        assert!(v.get("inf").is_null() && v.get("r").is_null());
        assert_eq!(v.get("b").bool(), Some(false));
        assert_eq!(Object::new().finish(), b"{}");
    }
}
