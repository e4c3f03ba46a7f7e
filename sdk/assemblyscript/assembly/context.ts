import { Batch, Errno, Event, NewEvent, encode, maxKeyBytes, maxValueBytes } from "./abi";
import * as host from "./imports";
import { Json } from "./json";

/** Versions that a stream can be expected to be at, beside versions from 0 on. */
export const anyVersion: i64 = -1;
export const noStream: i64 = -2;
export const streamExists: i64 = -3;

/** The level of a log line. */
export enum Level {
  Debug,
  Info,
  Warn,
  Error,
}

const firstAnswer: i32 = 1 << 10; // room for most answers of the host
const scanBytes: i32 = 8 + maxKeyBytes + maxValueBytes;
const scanEntries: i32 = 1024;

/** Logs the lines of a text. A line has at most 4 KiB, and a batch 64 KiB; what is more is cut. */
export function log(level: Level, text: string): void {
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const line = String.UTF8.encode(lines[i]);
    if (line.byteLength > 0) host.log(level, changetype<usize>(line), line.byteLength);
  }
}

/** A function of the host that answers bytes. */
type Get = (name: usize, length: i32, into: usize, cap: i32) => i32;

/** The answer of the host, and its length or errno. */
let answer: ArrayBuffer = new ArrayBuffer(firstAnswer);
let answered: i32 = 0;

/** Asks the host until there is room for its answer. It returns whether there is one. */
function ask(get: Get, name: string): bool {
  const bytes = String.UTF8.encode(name);
  answered = get(changetype<usize>(bytes), bytes.byteLength, changetype<usize>(answer), answer.byteLength);
  if (answered > answer.byteLength) {
    answer = new ArrayBuffer(answered);
    answered = get(changetype<usize>(bytes), bytes.byteLength, changetype<usize>(answer), answered);
  }
  return answered >= 0;
}

/** The answer as text. */
function answeredText(): string {
  return answered > 0 ? String.UTF8.decodeUnsafe(changetype<usize>(answer), answered) : "";
}

/** What a filter, a map, a partitioner or a validator may ask and say. It judges an event the same way each time. */
export class Pure {
  /** A member of the configuration, or all of it for an empty name. It is missing if there is none. */
  config(name: string): Json {
    return new Json(ask(host.config_get, name) ? answeredText() : "");
  }

  /** Logs the lines of a text. */
  log(level: Level, text: string): void {
    log(level, text);
  }
}

/**
 * What a handler does things with. AssemblyScript has no exceptions: the first call that fails sets error, and
 * an event whose handler is done with an error is tried again, with the error's text. takeError takes it away.
 */
export class Context {
  /** Of the first call that failed. */
  error: Errno = Errno.Ok;
  /** The state of the handler's lane. */
  state: State;

  private pure: Pure = new Pure();

  constructor() {
    this.state = new State();
    this.state.context = this;
  }

  /** Returns the error, and forgets it. */
  takeError(): Errno {
    const error = this.error;
    this.error = Errno.Ok;
    return error;
  }

  /** Notes the answer of a call. It returns whether the call did what it was asked. */
  note(answer: i32): bool {
    if (answer < 0 && this.error == Errno.Ok) this.error = answer;
    return answer >= 0;
  }

  /** Appends an event with JSON data to a stream at any version. The binding has to grant append for the stream. */
  append(stream: string, type: string, data: string): bool {
    return this.appendTo(stream, anyVersion, [new NewEvent(type, data)]);
  }

  /**
   * Appends events to a stream, one after the other, if it is at an expected version when the batch is
   * committed. If it is not, the batch is handled again.
   */
  appendTo(stream: string, expected: i64, events: NewEvent[]): bool {
    const name = String.UTF8.encode(stream);
    const encoded = encode(events);
    if (encoded === null) return this.note(Errno.TooLarge);
    return this.note(host.append(changetype<usize>(name), name.byteLength, expected, changetype<usize>(encoded), encoded.byteLength));
  }

  /**
   * Up to limit events of a stream from a version on, at most 256. The binding has to grant streams.read. A
   * stream without events is Errno.NotFound.
   */
  readStream(stream: string, from: u64, limit: i32): Event[] {
    const events = new Array<Event>();
    const name = String.UTF8.encode(stream);
    let into = new ArrayBuffer(firstAnswer);
    let n = host.stream_read(changetype<usize>(name), name.byteLength, from, limit, changetype<usize>(into), into.byteLength);
    if (n > into.byteLength) {
      into = new ArrayBuffer(n);
      n = host.stream_read(changetype<usize>(name), name.byteLength, from, limit, changetype<usize>(into), n);
    }
    if (!this.note(n)) return events;
    const batch = new Batch(into.slice(0, n));
    for (let e = batch.next(); e !== null; e = batch.next()) events.push(e);
    if (batch.isCorrupt) this.note(Errno.IO);
    return events;
  }

  /** A member of the binding's configuration, or all of it for an empty name. It is missing if there is none. */
  config(name: string): Json {
    return this.pure.config(name);
  }

  /** A secret, or an empty text. The binding has to grant it. */
  secret(name: string): string {
    ask(host.secret_get, name);
    this.note(answered);
    return answeredText();
  }

  /**
   * Sends a request, a JSON object {method, url, headers, bodyBase64}, and returns the response, {status,
   * headers, bodyBase64}. The binding has to grant the host and port. If the batch is handled again, so is
   * the request.
   */
  http(request: string): string {
    ask(host.http, request);
    this.note(answered);
    return answeredText();
  }

  /** Logs the lines of a text. */
  log(level: Level, text: string): void {
    log(level, text);
  }

  /** Adds to a counter. A binding has at most 64 counters, gauges and histograms. */
  count(name: string, n: f64): bool {
    return this.metric(0, name, n);
  }

  /** Sets a gauge. */
  gauge(name: string, value: f64): bool {
    return this.metric(1, name, value);
  }

  /** Adds a value to a histogram. */
  observe(name: string, value: f64): bool {
    return this.metric(2, name, value);
  }

  private metric(kind: i32, name: string, value: f64): bool {
    const bytes = String.UTF8.encode(name);
    return this.note(host.metric(kind, changetype<usize>(bytes), bytes.byteLength, value));
  }

  /** The logical time, when the event was recorded, in µs since 1970. */
  get nowMicros(): i64 {
    return host.now_us();
  }

  /** Bytes that depend on the binding and the event only. */
  random(n: i32): Uint8Array {
    const bytes = new Uint8Array(n);
    host.random(bytes.dataStart, n);
    return bytes;
  }

  /** Ends the batch, which fails with a text. */
  fail(code: i32, text: string): void {
    const bytes = String.UTF8.encode(text);
    host.fail(code, changetype<usize>(bytes), bytes.byteLength);
    unreachable();
  }
}

/** What a function that answers queries may read. It has no effects: a change of the state is Errno.Denied. */
export class View {
  context: Context = new Context();

  /** The state of the lane. */
  get state(): State {
    return this.context.state;
  }

  /** A member of the configuration, or all of it for an empty name. It is missing if there is none. */
  config(name: string): Json {
    return this.context.config(name);
  }

  /** Logs the lines of a text. The last warning or error is part of the message of a query that fails. */
  log(level: Level, text: string): void {
    log(level, text);
  }
}

/**
 * A map from keys to values, which is changed together with the place in the log. A key has 1 to 512 bytes of
 * UTF-8, a value at most 256 KiB. The binding has to grant state. Reads see what was written before.
 */
export class State {
  context!: Context;

  /** The value of a key as text, or null. */
  get(key: string): string | null {
    return this.peek(key) ? answeredText() : null;
  }

  /** The value of a key, or null. */
  getBytes(key: string): ArrayBuffer | null {
    return this.peek(key) ? answer.slice(0, answered) : null;
  }

  private peek(key: string): bool {
    const isThere = ask(host.state_get, key);
    if (answered != Errno.NotFound) this.context.note(answered);
    return isThere;
  }

  /** Sets the value of a key. */
  put(key: string, value: string): bool {
    return this.putBytes(key, String.UTF8.encode(value));
  }

  /** Sets the value of a key. */
  putBytes(key: string, value: ArrayBuffer): bool {
    const name = String.UTF8.encode(key);
    return this.context.note(host.state_put(changetype<usize>(name), name.byteLength, changetype<usize>(value), value.byteLength));
  }

  /** Removes a key. It is no error if there is none. */
  delete(key: string): bool {
    const name = String.UTF8.encode(key);
    return this.context.note(host.state_del(changetype<usize>(name), name.byteLength));
  }

  /** A number that putInt or add has stored, or 0 if there is none. A value that is no number is Errno.Invalid. */
  int(key: string): i64 {
    const value = this.get(key);
    if (value === null) return 0;
    const number = new Json(value);
    if (!number.isInt) this.context.note(Errno.Invalid);
    return number.int;
  }

  /** Stores a number, as decimal digits. */
  putInt(key: string, n: i64): bool {
    return this.put(key, n.toString());
  }

  /** Adds to a number, and returns the sum. It adds nothing if the number cannot be read. */
  add(key: string, n: i64): i64 {
    const before = this.context.takeError();
    const sum = this.int(key) + n;
    if (this.context.error == Errno.Ok) this.putInt(key, sum);
    if (before != Errno.Ok) this.context.error = before;
    return sum;
  }

  /**
   * Calls visit with the entries whose keys begin with a prefix, in the byte order of keys, until it returns
   * false.
   */
  scan(prefix: string, visit: (key: string, value: string) => bool): void {
    const begin = String.UTF8.encode(prefix);
    const page = new ArrayBuffer(scanBytes);
    let after = new ArrayBuffer(0);
    for (;;) {
      const n = host.state_scan(
        changetype<usize>(begin), begin.byteLength, changetype<usize>(after), after.byteLength,
        scanEntries, changetype<usize>(page), scanBytes,
      );
      if (!this.context.note(n) || n == 0) return;
      for (let at = 0; at < n; ) {
        const p = changetype<usize>(page) + at;
        const keyLength = n - at < 8 ? -1 : load<i32>(p);
        const valueLength = n - at < 8 ? -1 : load<i32>(p, 4);
        if (keyLength < 0 || valueLength < 0 || (keyLength as i64) + valueLength > n - at - 8) {
          this.context.note(Errno.IO);
          return;
        }
        const key = String.UTF8.decodeUnsafe(p + 8, keyLength);
        const value = String.UTF8.decodeUnsafe(p + 8 + keyLength, valueLength);
        at += 8 + keyLength + valueLength;
        if (at >= n) after = String.UTF8.encode(key);
        if (!visit(key, value)) return;
      }
    }
  }
}
