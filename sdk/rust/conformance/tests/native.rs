//! The guest of the conformance kit on the host for unit tests, natively: it has to do what it does in a node.
//! Cases that the host has no way to say are left out.

use gyre_plugin::json::Value;
use gyre_plugin::testing::{Decision, Done, Test, TestEvent};
use gyre_plugin::Level;
use std::collections::BTreeMap;
use std::time::Duration;

const CASES: &[u8] = include_bytes!("../../../../plugins/abi/conformance/cases.json");

fn text(v: Value<'_>) -> String {
    v.text().unwrap_or_default().into_owned()
}

fn int(v: Value<'_>) -> i64 {
    v.int().unwrap_or(0)
}

/// Writes pieces such as {k*513} out.
fn expand(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut i = 0;
    while i < chars.len() {
        let end = chars[i..].iter().position(|c| *c == '}').map(|n| i + n);
        if let ('{', Some('*'), Some(end)) = (chars[i], chars.get(i + 2), end) {
            let digits: String = chars[i + 3..end].iter().collect();
            out.extend(std::iter::repeat(chars[i + 1]).take(digits.parse().unwrap()));
            i = end + 1;
        } else {
            out.push(chars[i]);
            i += 1;
        }
    }
    out
}

/// A text, or its length and checksum if it is long, as the kit has it.
fn short(text: &[u8]) -> String {
    if text.len() <= 256 {
        return String::from_utf8_lossy(text).into_owned();
    }
    let crc = text.iter().fold(u32::MAX, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| c >> 1 ^ if c & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    format!("{} bytes, CRC-32 {:08x}", text.len(), !crc)
}

fn is_left_out(c: Value<'_>) -> bool {
    let host = c.get("host");
    let names = ["answers", "streams", "http"];
    let has_place = |e: Value<'_>| ["position", "id", "flags"].iter().any(|name| e.get(name).exists());
    names.iter().any(|name| host.get(name).exists())
        || c.get("later").exists()
        || c.get("want").get("failed").exists()
        || c.get("events").elements().any(has_place)
}

fn events(list: Value<'_>) -> Vec<TestEvent> {
    let event = |e: Value<'_>| {
        let lines: Vec<_> = e.get("script").elements().map(|line| expand(&text(line))).collect();
        let mut event = TestEvent::new("s", "Script", lines.join("\n"));
        event.metadata = text(e.get("metadata")).into_bytes();
        event.binary = true;
        event
    };
    list.elements().map(event).collect()
}

fn test_of(host: Value<'_>) -> Test {
    let mut test = Test::new(conformance::handle);
    for (key, value) in host.get("state").members() {
        test.set_state(&expand(&key), expand(&text(value)));
    }
    for (name, value) in host.get("secrets").members() {
        test.set_secret(&name, &text(value));
    }
    test.set_config(&text(host.get("config")));
    test
}

/// The number of an action, with its delay and reason.
fn answer(decision: &Decision) -> (i64, i64, String) {
    match decision {
        Decision::Skip => (3, 0, "skipped".to_owned()),
        Decision::Park(reason) => (2, 0, short(reason.as_bytes())),
        Decision::Retry { after, reason } => (1, after.as_millis() as i64, short(reason.as_bytes())),
        _ => (0, 0, String::new()),
    }
}

#[test]
fn the_guest_does_what_it_does_in_a_node() {
    let cases = Value::new(CASES).get("gyre_handle");
    let mut ran = 0;
    for c in cases.elements().filter(|c| !is_left_out(*c)) {
        let (name, want) = (text(c.get("name")), c.get("want"));
        let mut test = test_of(c.get("host"));
        let state = test.all_state().clone();
        let mut events = events(c.get("events"));
        let results: Vec<(usize, Value<'_>)> =
            want.get("results").members().map(|(i, r)| (i.parse().unwrap(), r)).collect();
        let undone = results.iter().find(|(_, r)| matches!(int(r.get("action")), 1 | 2)).map(|(i, _)| *i);
        events.truncate(undone.map_or(usize::MAX, |i| i + 1));
        let stops = int(want.get("verdict")) != 0;
        let end = if stops { 0 } else { undone.unwrap_or(events.len()) };
        let done = test.handle(&events);
        check_output(&name, &done, want, end);
        for (i, r) in results {
            let wanted = (int(r.get("action")), int(r.get("delayMs")), text(r.get("text")));
            assert_eq!(answer(&done.decisions[i]), wanted, "{name}");
        }
        assert_eq!(shortened(test.all_state()), wanted_state(state, want.get("writes"), end), "{name}");
        for (metric, value) in want.get("metrics").members() {
            assert_eq!(test.metric(&metric), value.float(), "{name}");
        }
        ran += 1;
    }
    assert!(ran > 20, "only {ran} cases ran");
}

fn check_output(name: &str, done: &Done, want: Value<'_>, end: usize) {
    let line = |level: Level, text: &str| {
        format!("{} {}", format!("{level:?}").to_lowercase(), short(text.as_bytes()))
    };
    let lines: Vec<_> = done.lines.iter().map(|l| line(l.level, &l.text)).collect();
    assert_eq!(lines, want.get("logs").elements().map(text).collect::<Vec<_>>(), "{name}");
    let appended: Vec<_> = done
        .appended
        .iter()
        .map(|a| {
            (
                a.event as i64,
                a.stream.clone(),
                a.expected,
                a.event_type.clone(),
                short(&a.data),
                short(&a.metadata),
                a.binary,
            )
        })
        .collect();
    let wanted = |a: Value<'_>| {
        let words = ["stream", "type", "data", "metadata"].map(|name| text(a.get(name)));
        let [stream, event_type, data, metadata] = words;
        let is_binary = a.get("binary").bool() == Some(true);
        (int(a.get("event")), stream, int(a.get("expected")), event_type, data, metadata, is_binary)
    };
    let wanted: Vec<_> = want.get("appended").elements().map(wanted).filter(|a| a.0 < end as i64).collect();
    assert_eq!(appended, wanted, "{name}");
}

fn shortened(state: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    state.iter().map(|(key, value)| (short(key.as_bytes()), short(value))).collect()
}

fn wanted_state(
    before: BTreeMap<String, Vec<u8>>,
    writes: Value<'_>,
    end: usize,
) -> BTreeMap<String, String> {
    let mut state = shortened(&before);
    for w in writes.elements().filter(|w| int(w.get("event")) < end as i64) {
        match w.get("deleted").bool() {
            Some(true) => state.remove(&text(w.get("key"))),
            _ => state.insert(text(w.get("key")), text(w.get("value"))),
        };
    }
    state
}

#[test]
fn a_script_breaks_natively_too() {
    let trap = TestEvent { binary: true, ..TestEvent::new("s", "Script", "trap") };
    let broken = std::panic::catch_unwind(|| Test::new(conformance::handle).handle(&[trap]));
    assert!(broken.is_err());
    let later = TestEvent { binary: true, ..TestEvent::new("s", "Script", "retry|20|soon") };
    let done = Test::new(conformance::handle).handle(&[later]);
    let want = Decision::Retry { after: Duration::from_millis(20), reason: "soon".to_owned() };
    assert_eq!(done.decisions, [want]);
}

#[test]
fn queries_are_answered_from_the_state_and_fail_with_a_reason() {
    let mut test = Test::new(conformance::handle);
    test.set_state("b", "two");
    assert_eq!(test.query(conformance::query, b"get|b\nanswer|{}"), Ok(b"{}".to_vec()));
    assert_eq!(test.query(conformance::query, b"park|no such order"), Err("no such order".to_owned()));
}
