//! The guest of the conformance kit: it does what the data of an event says, and logs the answers. See
//! plugins/abi/conformance/README.md.

use gyre_plugin::json::Value;
use gyre_plugin::{
    park, refuse, retry, skip, stop, Context, Error, Event, Expected, Level, NewEvent, Outcome, Pure, View,
};
use std::time::Duration;

gyre_plugin::handler!(handle);
gyre_plugin::filter!(filter);
gyre_plugin::map!(map);
gyre_plugin::partition!(partition);
gyre_plugin::validate!(validate);
gyre_plugin::query!(query);

/// The commands of a script, as words.
fn script<'a>(e: &Event<'a>) -> Vec<Vec<&'a str>> {
    let text = std::str::from_utf8(e.data).unwrap_or_default();
    text.lines().map(|line| line.split('|').collect()).collect()
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or(0)
}

fn level(word: &str) -> Level {
    match word {
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        _ => Level::Error,
    }
}

fn expected(word: &str) -> Expected {
    match number(word) {
        -1 => Expected::Any,
        -2 => Expected::NoStream,
        -3 => Expected::StreamExists,
        version => Expected::Version(version as u64),
    }
}

/// Does what a script says.
pub fn handle(c: &mut Context, e: &Event) -> Result<(), Outcome> {
    for words in script(e) {
        match words[..] {
            ["skip"] => return Err(skip()),
            ["retry", after, reason] => {
                return Err(retry(Duration::from_millis(number(after) as u64), reason));
            }
            ["park", reason] => return Err(park(reason)),
            ["stop", reason] => return Err(stop(reason)),
            ["must", key, value] => c.state().put(key, value)?,
            ["fail", code, text] => c.fail(number(code) as i32, text),
            ["trap"] => panic!("trap"),
            ["log", l, text] => c.log(level(l), text),
            _ => {
                for line in answer(c, e, &words) {
                    c.log(Level::Info, format!("{}: {line}", words[0]));
                }
            }
        }
    }
    Ok(())
}

/// What a command answers.
fn answer(c: &mut Context, e: &Event, words: &[&str]) -> Vec<String> {
    match *words {
        ["event"] => vec![describe(e)],
        ["json", ref path @ ..] => vec![json(e, path)],
        ["config", name] => vec![config(c.config(name))],
        ["append", stream, version, event_type, data, metadata] => {
            let event =
                NewEvent { event_type, data: data.as_bytes(), metadata: metadata.as_bytes(), binary: false };
            vec![done(c.append_to(stream, expected(version), &[event]))]
        }
        ["bytes", stream, version, event_type, data] => {
            let event = NewEvent { event_type, data: data.as_bytes(), binary: true, ..NewEvent::default() };
            vec![done(c.append_to(stream, expected(version), &[event]))]
        }
        ["two", stream, version, first, second] => {
            let event = |event_type| NewEvent { event_type, data: b"1", ..NewEvent::default() };
            vec![done(c.append_to(stream, expected(version), &[event(first), event(second)]))]
        }
        ["get", key] => vec![match c.state().get(key) {
            Ok(Some(value)) => text(value),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        }],
        ["put", key, value] => vec![done(c.state().put(key, value))],
        ["delete", key] => vec![done(c.state().delete(key))],
        ["add", key, n] => vec![c.state().add(key, number(n)).map_or_else(fault, |sum| sum.to_string())],
        ["scan", prefix, most] => scan(c, prefix, number(most) as usize),
        ["read", stream, from, limit] => read(c, stream, number(from) as u64, number(limit) as usize),
        ["secret", name] => vec![c.secret(name).unwrap_or_else(fault)],
        ["http", request] => vec![c.http(request).map_or_else(fault, text)],
        ["count", name, n] => vec![done(c.count(name, number(n) as f64))],
        ["gauge", name, n] => vec![done(c.gauge(name, number(n) as f64))],
        ["observe", name, n] => vec![done(c.observe(name, number(n) as f64))],
        ["now"] => vec![c.now_micros().to_string()],
        ["random", n] => {
            let mut bytes = vec![0; number(n) as usize];
            c.random(&mut bytes);
            vec![bytes.iter().map(|b| format!("{b:02x}")).collect()]
        }
        _ => vec!["no such command".to_owned()],
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn fault(error: Error) -> String {
    error.to_string()
}

fn done(result: Result<(), Error>) -> String {
    result.map_or_else(fault, |()| "ok".to_owned())
}

fn config(value: Value<'_>) -> String {
    if !value.exists() {
        return "none".to_owned();
    }
    text(value.raw().to_vec())
}

fn describe(e: &Event) -> String {
    format!(
        "{} {} {} {} {} {} {} {} {} {} {}",
        e.position,
        e.version,
        e.id,
        e.stream,
        e.event_type,
        e.attempt,
        e.replay,
        e.is_json,
        e.time_micros,
        e.data.len(),
        text(e.metadata.to_vec())
    )
}

/// A value in the metadata, in all its forms.
fn json(e: &Event, path: &[&str]) -> String {
    let mut value = Value::new(e.metadata);
    for name in path {
        value = value.get(name);
    }
    let string = value.text().map_or("none".to_owned(), |t| t.into_owned());
    let int = value.int().map_or("none".to_owned(), |n| n.to_string());
    let bool = value.bool().map_or("none".to_owned(), |b| b.to_string());
    format!("{} {string} {int} {bool}", config(value))
}

fn scan(c: &mut Context, prefix: &str, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let result = c.state().scan(prefix, |key, value| {
        lines.push(format!("{key}={}", String::from_utf8_lossy(value)));
        lines.len() < most
    });
    lines.push(done(result));
    lines
}

fn read(c: &mut Context, stream: &str, from: u64, limit: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let result = c.read_stream(stream, from, limit, |e| lines.push(describe(e)));
    lines.push(done(result));
    lines
}

/// What a judge's script answers last: a word, and its argument.
fn judge<'a>(p: &mut Pure, e: &Event<'a>) -> Result<(&'a str, &'a str), Outcome> {
    for words in script(e) {
        match words[..] {
            ["event"] => p.log(Level::Info, format!("event: {}", describe(e))),
            ["json", ref path @ ..] => p.log(Level::Info, format!("json: {}", json(e, path))),
            ["config", name] => {
                let line = format!("config: {}", config(p.config(name)));
                p.log(Level::Info, line);
            }
            ["log", l, text] => p.log(level(l), text),
            ["park", reason] => return Err(park(reason)),
            ["refuse", reason] => return Err(refuse(reason)),
            ["trap"] => panic!("trap"),
            [word] => return Ok((word, "")),
            [word, argument] => return Ok((word, argument)),
            _ => return Err(park("no such command")),
        }
    }
    Ok(("", ""))
}

fn filter(p: &mut Pure, e: &Event) -> Result<bool, Outcome> {
    Ok(judge(p, e)?.0 != "drop")
}

fn map(p: &mut Pure, e: &Event) -> Result<Vec<u8>, Outcome> {
    Ok(judge(p, e)?.1.as_bytes().to_vec())
}

fn partition(p: &mut Pure, e: &Event) -> Result<String, Outcome> {
    Ok(judge(p, e)?.1.to_owned())
}

fn validate(p: &mut Pure, e: &Event) -> Result<(), Outcome> {
    judge(p, e).map(drop)
}

/// Does what a query says, and answers what it says last.
pub fn query(v: &mut View, script: &[u8]) -> Result<Vec<u8>, Outcome> {
    for line in String::from_utf8_lossy(script).lines() {
        let words: Vec<&str> = line.split('|').collect();
        let answer = match words[..] {
            ["answer", text] => return Ok(text.as_bytes().to_vec()),
            ["park", reason] => return Err(park(reason)),
            ["trap"] => panic!("trap"),
            ["get", key] => {
                v.state().get(key).map_or_else(fault, |value| value.map_or("none".to_owned(), text))
            }
            ["put", key, value] => done(v.state().put(key, value)),
            ["config", name] => config(v.config(name)),
            ["scan", prefix, _] => {
                let mut lines = Vec::new();
                let result = v.state().scan(prefix, |key, value| {
                    lines.push(format!("scan: {key}={}", String::from_utf8_lossy(value)));
                    true
                });
                lines.into_iter().for_each(|line| v.log(Level::Info, line));
                done(result)
            }
            _ => "no such command".to_owned(),
        };
        v.log(Level::Info, format!("{}: {answer}", words[0]));
    }
    Ok(Vec::new())
}
