// The guest of the conformance kit: it does what the data of an event says, and logs the answers. See
// plugins/abi/conformance/README.md.

import {
  Context, Errno, Event, Json, Level, NewEvent, Outcome, Pure, View, accept, answer as answerQuery, data, done, drop, errorText, keep, key, park,
  refuse, retry, runHandler, runJudge, runQuery, skip, stop,
} from "../assembly";

export function gyre_handle(length: i32, _count: i32, _attempt: i32): i32 {
  return runHandler(length, handle);
}

export function gyre_filter(length: i32, _count: i32, _attempt: i32): i32 {
  return runJudge(length, filter);
}

export function gyre_map(length: i32, _count: i32, _attempt: i32): i32 {
  return runJudge(length, map);
}

export function gyre_partition(length: i32, _count: i32, _attempt: i32): i32 {
  return runJudge(length, partition);
}

export function gyre_validate(length: i32, _count: i32, _attempt: i32): i32 {
  return runJudge(length, validate);
}

/** The commands of a script, as words. */
function script(e: Event): string[][] {
  const commands = new Array<string[]>();
  if (e.size == 0) return commands;
  const lines = e.text.split("\n");
  for (let i = 0; i < lines.length; i++) commands.push(lines[i].split("|"));
  return commands;
}

function number(word: string): i64 {
  return new Json(word).int;
}

function level(word: string): Level {
  if (word == "debug") return Level.Debug;
  if (word == "info") return Level.Info;
  return word == "warn" ? Level.Warn : Level.Error;
}

function handle(c: Context, e: Event): Outcome {
  const commands = script(e);
  for (let i = 0; i < commands.length; i++) {
    const w = commands[i];
    const name = w[0];
    if (name == "skip") return skip();
    if (name == "retry") return retry(number(w[1]) as u32, w[2]);
    if (name == "park") return park(w[1]);
    if (name == "stop") return stop(w[1]);
    if (name == "must") {
      if (!c.state.put(w[1], w[2])) return done(); // which is a retry, because of the error
    } else if (name == "fail") {
      c.fail(number(w[1]) as i32, w[2]);
    } else if (name == "trap") {
      unreachable();
    } else if (name == "log") {
      c.log(level(w[1]), w[2]);
    } else {
      answer(c, e, w);
    }
  }
  return done();
}

/** Logs the answer of a command: an error, if there is one. */
function say(c: Context, w: string[], text: string): void {
  const error = c.takeError();
  c.log(Level.Info, w[0] + ": " + (error != Errno.Ok ? errorText(error) : text));
}

function answer(c: Context, e: Event, w: string[]): void {
  const name = w[0];
  if (name == "event") {
    say(c, w, describe(e));
  } else if (name == "json") {
    say(c, w, json(e, w));
  } else if (name == "config") {
    say(c, w, rawOrNone(c.config(w[1])));
  } else if (name == "get") {
    const value = c.state.get(w[1]);
    say(c, w, value === null ? "none" : value);
  } else if (name == "put") {
    c.state.put(w[1], w[2]);
    say(c, w, "ok");
  } else if (name == "delete") {
    c.state.delete(w[1]);
    say(c, w, "ok");
  } else if (name == "add") {
    say(c, w, c.state.add(w[1], number(w[2])).toString());
  } else if (name == "scan") {
    scan(c, w);
  } else if (name == "read") {
    const events = c.readStream(w[1], number(w[2]), number(w[3]) as i32);
    for (let i = 0; i < events.length; i++) c.log(Level.Info, "read: " + describe(events[i]));
    say(c, w, "ok");
  } else if (name == "secret") {
    say(c, w, c.secret(w[1]));
  } else if (name == "http") {
    say(c, w, c.http(w[1]));
  } else {
    act(c, w);
  }
}

function act(c: Context, w: string[]): void {
  const name = w[0];
  if (name == "append") {
    c.appendTo(w[1], number(w[2]), [new NewEvent(w[3], w[4], w[5])]);
    say(c, w, "ok");
  } else if (name == "bytes") {
    const event = new NewEvent(w[3]);
    event.bytes = Uint8Array.wrap(String.UTF8.encode(w[4]));
    c.appendTo(w[1], number(w[2]), [event]);
    say(c, w, "ok");
  } else if (name == "two") {
    c.appendTo(w[1], number(w[2]), [new NewEvent(w[3], "1"), new NewEvent(w[4], "1")]);
    say(c, w, "ok");
  } else if (name == "count") {
    c.count(w[1], number(w[2]) as f64);
    say(c, w, "ok");
  } else if (name == "gauge") {
    c.gauge(w[1], number(w[2]) as f64);
    say(c, w, "ok");
  } else if (name == "observe") {
    c.observe(w[1], number(w[2]) as f64);
    say(c, w, "ok");
  } else if (name == "now") {
    say(c, w, c.nowMicros.toString());
  } else if (name == "random") {
    const bytes = c.random(number(w[1]) as i32);
    let text = "";
    for (let i = 0; i < bytes.length; i++) text += (bytes[i] >> 4).toString(16) + (bytes[i] & 15).toString(16);
    say(c, w, text);
  } else {
    say(c, w, "no such command");
  }
}

// A function that is passed on sees no variables around it, so how far a scan has come is here.
let scanning: Context | null = null;
let left: i64 = 0;

function scan(c: Context, w: string[]): void {
  scanning = c;
  left = number(w[2]);
  c.state.scan(w[1], (key, value) => {
    scanning!.log(Level.Info, "scan: " + key + "=" + value);
    return --left > 0;
  });
  say(c, w, "ok");
}

function describe(e: Event): string {
  return [
    e.position.toString(), e.version.toString(), e.id, e.stream, e.type, e.attempt.toString(), e.replay.toString(),
    e.isJSON.toString(), e.timeMicros.toString(), e.size.toString(), e.metadata,
  ].join(" ");
}

function rawOrNone(v: Json): string {
  return v.exists ? v.raw : "none";
}

/** A value in the metadata, in all its forms. */
function json(e: Event, w: string[]): string {
  let v = new Json(e.metadata);
  for (let i = 1; i < w.length; i++) v = v.get(w[i]);
  const text = v.isString ? v.text : "none";
  const int = v.isInt ? v.int.toString() : "none";
  const bool = v.isBool ? v.bool.toString() : "none";
  return [rawOrNone(v), text, int, bool].join(" ");
}

/** What a judge's script answers last: a word, and its argument. */
function judge(p: Pure, e: Event): string[] {
  const commands = script(e);
  for (let i = 0; i < commands.length; i++) {
    const w = commands[i];
    const name = w[0];
    if (name == "event") p.log(Level.Info, "event: " + describe(e));
    else if (name == "json") p.log(Level.Info, "json: " + json(e, w));
    else if (name == "config") p.log(Level.Info, "config: " + rawOrNone(p.config(w[1])));
    else if (name == "log") p.log(level(w[1]), w[2]);
    else if (name == "trap") unreachable();
    else return w.length > 1 ? w : [name, ""];
  }
  return ["", ""];
}

function filter(p: Pure, e: Event): Outcome {
  const w = judge(p, e);
  if (w[0] == "park") return park(w[1]);
  return w[0] == "drop" ? drop() : keep();
}

function map(p: Pure, e: Event): Outcome {
  const w = judge(p, e);
  return w[0] == "park" ? park(w[1]) : data(w[1]);
}

function partition(p: Pure, e: Event): Outcome {
  const w = judge(p, e);
  return w[0] == "park" ? park(w[1]) : key(w[1]);
}

function validate(p: Pure, e: Event): Outcome {
  const w = judge(p, e);
  return w[0] == "park" || w[0] == "refuse" ? refuse(w[1]) : accept();
}

export function gyre_query(length: i32): i32 {
  return runQuery(length, query);
}

/** Does what a query says, and answers what it says last. */
function query(v: View, script: string): Outcome {
  const lines = script.split("\n");
  for (let i = 0; i < lines.length && script.length > 0; i++) {
    const w = lines[i].split("|");
    if (w[0] == "answer") return answerQuery(w[1]);
    if (w[0] == "park") return park(w[1]);
    if (w[0] == "trap") unreachable();
    answer(v.context, new Event(new ArrayBuffer(64), 0), w);
  }
  return answerQuery("");
}
