// The binary frames of gyre.v1.bin. Their layout is in wsapi/wire/doc.go; go test
// writes examples of each into wsapi/wire/testdata.

import { broken, type Expect, type GyreError } from "./errors.js";
import { type Origin, type PreparedEvent, RecordedEvent } from "./event.js";
import { parseId } from "./id.js";
import type { AckTarget, Amount, Appended, Check, PreparedAppend, Progress } from "./messages.js";
import { textOf, utf8 } from "./text.js";

const kindEvents = 1;
const kindAppend = 2;
const kindResults = 3;
const kindAck = 4;
const kindCredit = 5;
const kindCommit = 6;
const kindCommitted = 7;

const flagDeflate = 0x01;
const flagDeliveries = 0x04; // of EVENTS
const flagReplay = 0x10; // of EVENTS that are deliveries
const flag3 = 0x08; // of EVENTS: an answer; of APPEND and COMMIT: a timeout; of ACK: up to; of COMMITTED: a duplicate
const flagDurable = 0x10; // of ACK
const flagFields = 0x10; // of COMMIT
const flagOwner = 0x10; // of RESULTS and COMMITTED

const formatBytes = 1;
const formatFields = 0x80;
const fieldTime = 1;
const fieldContentType = 2;
const fieldLink = 5;
const fieldProgress = 1; // of COMMIT

const words = { any: -1, no_stream: -2, stream_exists: -3 } as const;

/** Appends to bytes that grow. */
class Writer {
  #b: Uint8Array;
  #n = 0;

  constructor(size: number) {
    this.#b = new Uint8Array(size);
  }

  bytes(b: ArrayLike<number>): void {
    if (this.#n + b.length > this.#b.length) {
      const grown = new Uint8Array(2 * (this.#n + b.length));
      grown.set(this.done());
      this.#b = grown;
    }
    this.#b.set(b, this.#n);
    this.#n += b.length;
  }

  /** A uvarint. Beyond 2^53 it takes what a double holds, such as twice a version. */
  uvarint(v: number): void {
    const b: number[] = [];
    for (; v >= 0x80; v = Math.floor(v / 0x80)) b.push((v % 0x80) | 0x80);
    b.push(v);
    this.bytes(b);
  }

  lp(b: Uint8Array): void {
    this.uvarint(b.length);
    this.bytes(b);
  }

  done(): Uint8Array {
    return this.#b.subarray(0, this.#n);
  }
}

/** An APPEND frame where events are appended to one stream, and a COMMIT frame where there is more to it. */
export function commitFrame(
  id: number,
  appends: readonly PreparedAppend[],
  checks: readonly Check[],
  timeoutMs: number | undefined,
  progress?: Progress,
): Uint8Array {
  const one = appends.length === 1 && checks.length === 0 && !progress;
  const only = one && appends[0]?.links === undefined ? appends[0] : undefined;
  const w = new Writer(256);
  w.bytes([only === undefined ? kindCommit : kindAppend, (timeoutMs === undefined ? 0 : flag3) | (progress ? flagFields : 0)]);
  w.uvarint(id);
  if (timeoutMs !== undefined) w.uvarint(timeoutMs);
  if (only !== undefined) {
    eventsTo(w, only);
    return w.done();
  }
  w.uvarint(appends.length);
  for (const a of appends) {
    eventsTo(w, a);
    const links = a.links ?? [];
    w.uvarint(links.length);
    for (const link of links) w.bytes(parseId(link));
  }
  w.uvarint(checks.length);
  for (const c of checks) target(w, c);
  if (progress) w.lp(progressField(progress));
  return w.done();
}

function progressField(p: Progress): Uint8Array {
  const w = new Writer(64);
  w.uvarint(p.from);
  w.uvarint(p.to);
  w.bytes(p.id ? parseId(p.id) : new Uint8Array(16));
  w.lp(utf8(p.log ?? ""));
  w.bytes(utf8(p.name));
  const value = w.done();
  return Uint8Array.from([fieldProgress, 0, value.length & 0xff, value.length >> 8, ...value]);
}

function eventsTo(w: Writer, a: PreparedAppend): void {
  target(w, a);
  w.uvarint(a.events.length);
  for (const e of a.events) w.lp(record(e));
}

function target(w: Writer, c: Check): void {
  w.uvarint(zigzag(c.expect));
  w.lp(utf8(c.stream));
}

function zigzag(x: Expect): number {
  const n = typeof x === "number" ? x : words[x];
  return n < 0 ? -2 * n - 1 : 2 * n;
}

function record(e: PreparedEvent): Uint8Array {
  const fields = new Writer(16);
  if (e.micros !== undefined) {
    const time = new DataView(new ArrayBuffer(12));
    time.setUint16(0, fieldTime, true);
    time.setUint16(2, 8, true);
    time.setBigInt64(4, e.micros, true);
    fields.bytes(new Uint8Array(time.buffer));
  }
  if (e.contentType !== "") {
    const text = utf8(e.contentType);
    fields.bytes([fieldContentType, 0, text.length & 0xff, text.length >> 8]);
    fields.bytes(text);
  }
  const data = typeof e.data === "string" ? utf8(e.data) : e.data;
  const hasFields = fields.done().length > 0;
  const w = new Writer(data.length + 256);
  w.bytes(e.idBytes);
  w.lp(utf8(e.type));
  w.bytes([(typeof e.data === "string" ? 0 : formatBytes) | (hasFields ? formatFields : 0)]);
  w.lp(utf8(e.metadata));
  if (hasFields) w.lp(fields.done());
  w.bytes(data);
  return w.done();
}

/** An ACK frame. */
export function ackFrame(id: number, sub: number, t: AckTarget, durable: boolean): Uint8Array {
  const upTo = "upTo" in t;
  const positions = upTo ? [t.upTo] : t.positions;
  const w = new Writer(16 + 8 * positions.length);
  w.bytes([kindAck, (upTo ? flag3 : 0) | (durable ? flagDurable : 0)]);
  for (const n of [id, sub, positions.length, ...positions]) w.uvarint(n);
  return w.done();
}

/** A CREDIT frame. */
export function creditFrame(sub: number, c: Amount): Uint8Array {
  const w = new Writer(24);
  w.bytes([kindCredit, 0]);
  for (const n of [sub, c.events, c.bytes]) w.uvarint(n);
  return w.done();
}

/** A run of events: of a sub or, if answer, of the page that answers that request. */
export interface EventsFrame {
  kind: 1;
  sub: number;
  answer: boolean;
  events: RecordedEvent[];
  attempts: number[] | undefined;
  /** They are parked events that are delivered again. */
  replay: boolean;
  /** The bytes of the events, which credit counts. */
  bytes: number;
}

/** The requests id … id+n−1 each wrote one event, from version and position on. */
export interface ResultRange {
  id: number;
  n: number;
  version: number;
  position: number;
}

/** What requests wrote that each wrote one event. */
export interface ResultsFrame {
  kind: 3;
  /** The owner; absent: the node of the connection. */
  node?: string;
  ranges: ResultRange[];
}

/** What the request id wrote, or had written before. */
export interface CommittedFrame {
  kind: 7;
  id: number;
  /** As of ResultsFrame. */
  node?: string;
  duplicate: boolean;
  appends: Appended[];
}

/** A frame of a server. */
export type ServerFrame = EventsFrame | ResultsFrame | CommittedFrame;

/** Makes bytes of a compressed block that says how many it has. */
export type Inflate = (coded: Uint8Array, raw: number) => Promise<Uint8Array>;

/**
 * The frames of a message, in order. A frame with a compressed block comes as a
 * promise; the next may be taken at once. Compressed blocks may have inflateLimit bytes
 * together; 0 means that no compression was agreed on.
 */
export function* frames(message: Uint8Array, inflateLimit: number, inflate: Inflate): Generator<ServerFrame | Promise<ServerFrame>> {
  const r = new Reader(message);
  while (!r.atEnd) {
    const kind = r.byte();
    const flags = r.byte();
    if (kind === kindResults && (flags & ~flagOwner) === 0) {
      yield { kind, ...owner(r, flags), ranges: Array.from({ length: r.count(4) }, () => resultRange(r)) };
      continue;
    }
    if (kind === kindCommitted && (flags & ~(flag3 | flagOwner)) === 0) {
      const id = r.uvarint();
      const node = owner(r, flags);
      yield { kind, id, ...node, duplicate: (flags & flag3) !== 0, appends: Array.from({ length: r.count(3) }, () => appended(r)) };
      continue;
    }
    if (kind !== kindEvents || (flags & ~(flagDeflate | flagDeliveries | flagReplay | flag3)) !== 0) {
      throw broken(`frame ${kind}, flags ${flags} is not known`);
    }
    const frame: EventsFrame = {
      kind,
      sub: r.uvarint(),
      answer: (flags & flag3) !== 0,
      events: [],
      attempts: undefined,
      replay: (flags & flagReplay) !== 0,
      bytes: 0,
    };
    const compressed = (flags & flagDeflate) !== 0;
    // What is not there is not allocated for: an event has 29 bytes or more.
    const count = r.count(compressed ? 0 : 1);
    if ((flags & flagDeliveries) !== 0) frame.attempts = r.list(count);
    if (!compressed) {
      yield fill(frame, r, count);
      continue;
    }
    const raw = r.uvarint();
    const coded = r.take(r.uvarint());
    inflateLimit -= raw;
    if (inflateLimit < 0) throw broken("a compressed frame is too large");
    yield inflate(coded, raw).then((block) => {
      const inner = new Reader(block);
      fill(frame, inner, count);
      if (!inner.atEnd) throw cut();
      return frame;
    });
  }
}

/** The owner's name, if the flags say that there is one. */
function owner(r: Reader, flags: number): { node?: string } {
  return (flags & flagOwner) === 0 ? {} : { node: textOf(r.lp()) };
}

function resultRange(r: Reader): ResultRange {
  return { id: r.uvarint(), n: r.uvarint(), version: r.uvarint(), position: r.uvarint() };
}

function appended(r: Reader): Appended {
  const count = r.uvarint();
  return { version: r.uvarint(), position: r.uvarint(), count };
}

function fill(f: EventsFrame, r: Reader, count: number): EventsFrame {
  const start = r.at;
  for (let i = 0; i < count; i++) f.events.push(event(new Reader(r.lp())));
  f.bytes = r.at - start;
  return f;
}

function event(r: Reader): RecordedEvent {
  const position = r.uvarint();
  const version = r.uvarint();
  const recorded = r.int64();
  const id = r.take(16);
  const stream = textOf(r.lp());
  const type = textOf(r.lp());
  const format = r.byte();
  const metadata = r.lp();
  let time = recorded;
  let contentType = "";
  let link: Origin | undefined;
  if ((format & formatFields) !== 0) {
    for (const fields = new Reader(r.lp()); !fields.atEnd; ) {
      const tag = fields.uint16();
      const value = new Reader(fields.take(fields.uint16()));
      if (tag === fieldTime) time = value.int64();
      if (tag === fieldContentType) contentType = textOf(value.rest());
      if (tag === fieldLink) link = origin(value);
    }
  }
  const dataFormat = format & ~formatFields;
  if (dataFormat > formatBytes) throw cut();
  return new RecordedEvent({
    stream,
    version,
    position,
    type,
    contentType,
    json: dataFormat === 0,
    id,
    recorded,
    time,
    data: r.rest(),
    metadata,
    link,
  });
}

function origin(r: Reader): Origin {
  const position = r.uvarint();
  const version = r.uvarint();
  return { stream: textOf(r.rest()), version, position };
}

function cut(): GyreError {
  return broken("a frame is malformed");
}

/** Takes values off the front of bytes. What is not there is protocol_error. */
class Reader {
  at = 0;
  readonly #b: Uint8Array;
  readonly #v: DataView;

  constructor(b: Uint8Array) {
    this.#b = b;
    this.#v = new DataView(b.buffer, b.byteOffset, b.length);
  }

  get atEnd(): boolean {
    return this.at === this.#b.length;
  }

  take(n: number): Uint8Array {
    if (n > this.#b.length - this.at) throw cut();
    this.at += n;
    return this.#b.subarray(this.at - n, this.at);
  }

  rest(): Uint8Array {
    return this.take(this.#b.length - this.at);
  }

  byte(): number {
    return this.take(1)[0] as number;
  }

  uint16(): number {
    this.take(2);
    return this.#v.getUint16(this.at - 2, true);
  }

  int64(): bigint {
    this.take(8);
    return this.#v.getBigInt64(this.at - 8, true);
  }

  /** A uvarint of at most 2^53−1. */
  uvarint(): number {
    let v = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const b = this.byte();
      v += (b & 0x7f) * scale;
      if (v > Number.MAX_SAFE_INTEGER || scale > 2 ** 56) throw cut();
      if (b < 0x80) return v;
    }
  }

  lp(): Uint8Array {
    return this.take(this.uvarint());
  }

  /** A number of things that have so many bytes each, or more. */
  count(each: number): number {
    const n = this.uvarint();
    if (n * each > this.#b.length - this.at) throw cut();
    return n;
  }

  list(n: number): number[] {
    if (n > this.#b.length - this.at) throw cut();
    return Array.from({ length: n }, () => this.uvarint());
  }
}
