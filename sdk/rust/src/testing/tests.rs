use super::*;
use crate::{park, retry, skip, stop, Context, Expected, NewEvent, Outcome, Pure};

/// Does what the type of the event says.
fn obedient(c: &mut Context, e: &Event<'_>) -> Result<(), Outcome> {
    c.log(Level::Info, format!("{}\n\n{}", e.event_type, e.stream));
    c.count("handled", 1.0)?;
    c.state().add("seen", 1)?;
    match e.event_type {
        "Append" => c.append("out", "Made", e.data)?,
        "Malformed" => c.append("out", "Made", "{")?,
        "Many" => {
            let one = NewEvent { event_type: "One", data: b"1", ..NewEvent::default() };
            let two = NewEvent { event_type: "Two", data: &[0, 255], binary: true, metadata: b"{}" };
            c.append_to("out", Expected::Version(7), &[one, two])?;
        }
        "Skip" => return Err(skip()),
        "Park" => return Err(park("never")),
        "Retry" => return Err(retry(Duration::from_millis(1500), "later")),
        "Stop" => return Err(stop("enough")),
        _ => {}
    }
    Ok(())
}

fn events(types: &[&str]) -> Vec<TestEvent> {
    types.iter().map(|t| TestEvent::new("s", t, r#"{"n":1}"#)).collect()
}

#[test]
fn what_a_handler_did_is_kept_up_to_the_event_that_fails() {
    let mut test = Test::new(obedient);
    let done = test.handle(&events(&["Append", "Skip", "Park", "Many", "Retry", "Append"]));
    let later = Decision::Retry { after: Duration::from_millis(1500), reason: "later".into() };
    let want = [
        Decision::Ack,
        Decision::Skip,
        Decision::Park("never".into()),
        Decision::Ack,
        later,
        Decision::Unhandled,
    ];
    assert_eq!(done.decisions, want);
    assert_eq!(test.state("seen"), Some("3"));
    let appended: Vec<_> = done.appended.iter().map(|a| (a.event, &a.event_type[..], a.expected)).collect();
    assert_eq!(appended, [(0, "Made", -1), (3, "One", 7), (3, "Two", -3)]);
    assert!(done.appended[2].binary && done.appended[2].metadata == b"{}");
    assert_eq!(done.lines[1], Line { level: Level::Info, text: "s".into() });
    assert_eq!(test.metric("handled"), Some(5.0));
}

#[test]
fn a_stop_keeps_nothing_of_its_batch() {
    let mut test = Test::new(obedient);
    let done = test.handle(&events(&["Append", "Stop"]));
    assert_eq!(done.decisions, [Decision::Unhandled, Decision::Stop]);
    assert!(done.appended.is_empty() && test.all_state().is_empty());
    assert_eq!(done.lines.last().map(|l| (&l.text[..], l.level)), Some(("enough", Level::Error)));
}

#[test]
fn an_error_is_a_retry_with_its_text() {
    let done = Test::new(obedient).handle(&events(&["Malformed"]));
    let want = Decision::Retry { after: Duration::ZERO, reason: "invalid argument".into() };
    assert_eq!(done.decisions, [want]);
}

#[test]
fn a_long_batch_is_cut() {
    let mut test = Test::new(obedient);
    let done = test.handle(&events(&["Count"; 600]));
    assert!(done.decisions.iter().all(|d| *d == Decision::Ack));
    assert_eq!(test.state("seen"), Some("600"));
}

#[test]
fn judges_are_tested() {
    fn check(p: &mut Pure<'_>, e: &Event<'_>) -> Result<(), Outcome> {
        let least = p.config("least").int().unwrap_or(0);
        let total = e.json().get("total").int().ok_or_else(|| crate::refuse("no total"))?;
        if total < least {
            return Err(crate::refuse(format!("{total} is below {least}")));
        }
        Ok(())
    }
    let mut test = JudgeTest::validate(check);
    test.set_config(r#"{"least":5}"#);
    let mut reason = |data: &str| test.judge(&TestEvent::new("s", "T", data)).reason;
    assert_eq!(reason(r#"{"total":5}"#), "");
    assert_eq!(reason(r#"{"total":4}"#), "4 is below 5");
    assert_eq!(reason("{}"), "no total");
    let verdict = JudgeTest::map(|_, e| Ok(e.json().get("a").raw().to_vec())).judge(&TestEvent::new(
        "s",
        "T",
        r#"{"a":[1]}"#,
    ));
    assert_eq!(verdict, Verdict { keep: true, value: b"[1]".to_vec(), reason: String::new() });
    let verdict = JudgeTest::partition(|_, e| Ok(e.stream.to_owned())).judge(&TestEvent::new("s", "T", "{}"));
    assert_eq!(verdict.value, b"s");
}

#[test]
fn the_host_answers_as_a_node_does() {
    fn ask(c: &mut Context, e: &Event<'_>) -> Result<(), Outcome> {
        assert_eq!(c.secret("KEY"), Ok("secret".into()));
        assert_eq!(c.secret("none"), Err(Error::NotFound));
        assert_eq!(c.config("limit").int(), Some(50));
        assert!(!c.config("none").exists());
        assert_eq!(c.config("").raw(), br#"{"limit":50}"#);
        assert_eq!(c.http("{}"), Ok(b"{\"status\":200}".to_vec()));
        let mut versions = Vec::new();
        c.read_stream(e.stream, 2, 1, |e| versions.push(e.version))?;
        assert_eq!(versions, [2]);
        assert_eq!(c.read_stream("none", 1, 1, |_| ()), Err(Error::NotFound));
        let (mut one, mut two) = ([0; 8], [0; 8]);
        c.random(&mut one);
        c.random(&mut two);
        assert!(one != two && c.now_micros() == e.time_micros);
        for key in ["b", "a", "c", "a2"] {
            c.state().put(key, key.repeat(400))?;
        }
        c.state().delete("c")?;
        let mut keys = Vec::new();
        c.state().scan("a", |key, value| {
            keys.push((key.to_owned(), value.len()));
            true
        })?;
        assert_eq!(keys, [("a".to_owned(), 400), ("a2".to_owned(), 800)]);
        assert_eq!(c.state().get("c"), Ok(None));
        assert_eq!(c.state().get("b").map(|v| v.map(|v| v.len())), Ok(Some(400)));
        assert_eq!(c.state().int("b"), Err(Error::Invalid));
        assert_eq!(c.state().put("", "x"), Err(Error::Invalid));
        assert_eq!(c.state().put(&"k".repeat(513), "x"), Err(Error::TooLarge));
        assert_eq!(c.state().put("k", vec![0; abi::MAX_VALUE_BYTES + 1]), Err(Error::TooLarge));
        let large = vec![b'1'; 2 << 20];
        c.append("out", "Large", &large)?;
        assert_eq!(c.append("out", "Large", &large), Err(Error::Quota));
        Ok(())
    }
    let mut test = Test::new(ask);
    test.set_config(r#"{"limit":50}"#);
    test.set_secret("KEY", "secret");
    test.set_http(|_| Ok(b"{\"status\":200}".to_vec()));
    assert_eq!(test.handle(&events(&["One", "Two"])).decisions[0], Decision::Ack);
}
