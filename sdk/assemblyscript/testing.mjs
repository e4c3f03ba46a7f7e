// A host in memory that runs a plugin's module in Node, for unit tests: in no sandbox but that of Node, and without a
// server.
//
//     import { load, Test } from "../gyre-plugin/testing.mjs";
//
//     const plugin = await Test.of("module.wasm");
//     const done = plugin.handle([{ stream: "order-1", type: "OrderPlaced", data: { total: 10 } }]);
//     assert.equal(plugin.state.get("OrderPlaced"), "1");
//
// A handler gets events as in a lane: what it did is kept up to the event that it retries or parks. The host keeps the
// limits of a batch, and grants everything; gyre plugin test runs the module with what its manifest asks for.

import { readFileSync } from "node:fs";

const errno = { invalid: -1, tooLarge: -3, notFound: -4, quota: -5, io: -8, unsupported: -9 };
const actions = ["ack", "retry", "park", "skip"];
const levels = ["debug", "info", "warn", "error"];
const max = {
  batchEvents: 256,
  keyBytes: 512,
  valueBytes: 256 << 10,
  writes: 4096,
  appended: 1024,
  effectBytes: 3584 << 10,
  series: 64,
  lineBytes: 4 << 10,
};
const firstDay = 1767225600_000_000n; // 2026-01-01 in µs

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Reads events from a file such as testdata/events.ndjson: an object a line, as gyre import takes them. */
export function load(file) {
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
}

/** An error of the host, by its number. */
class Refusal extends Error {
  constructor(number) {
    super(`errno ${number}`);
    this.errno = number;
  }
}

function refuse(number) {
  throw new Refusal(number);
}

/** Compares texts by their bytes of UTF-8. */
function compare(a, b) {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function bytesOf(data) {
  if (data instanceof Uint8Array) return data;
  return encoder.encode(data === undefined ? "" : JSON.stringify(data));
}

function encodeEvent(e) {
  const parts = [encoder.encode(e.stream), encoder.encode(e.type), e.bytes, bytesOf(e.metadata)];
  const size = parts.reduce((n, part) => n + part.length, 64);
  const out = Buffer.alloc((size + 7) & ~7);
  out.writeUInt32LE(out.length, 0);
  out.writeUInt16LE(64, 4);
  out.writeUInt16LE((e.isJSON ? 1 : 0) | (e.replay ? 2 : 0), 6);
  out.writeBigUInt64LE(BigInt(e.position), 8);
  out.writeBigUInt64LE(BigInt(e.version), 16);
  out.writeBigInt64LE(e.timeMicros, 24);
  out.writeBigUInt64BE(BigInt(e.position), 40);
  out.writeUInt16LE(parts[0].length, 48);
  out.writeUInt16LE(parts[1].length, 50);
  out.writeUInt32LE(parts[2].length, 52);
  out.writeUInt32LE(parts[3].length, 56);
  out.writeUInt32LE(e.attempt, 60);
  let at = 64;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function encodeBatch(events) {
  const entries = events.map(encodeEvent);
  const header = Buffer.alloc(32);
  header.write("GYB1", 0);
  header.writeUInt16LE(1, 4);
  header.writeUInt16LE(32, 6);
  header.writeUInt32LE(events.length, 8);
  header.writeUInt32LE(entries.reduce((n, e) => n + e.length, 32), 12);
  header.writeBigInt64LE(events.at(-1)?.timeMicros ?? 0n, 16);
  header.writeUInt32LE(1, 24);
  return Buffer.concat([header, ...entries]);
}

/** The events of an append, or a refusal. */
function decodeAppended(bytes) {
  const list = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < 32) refuse(errno.invalid);
    const size = bytes.readUInt32LE(at);
    const lengths = [bytes.readUInt16LE(at + 4), bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12)];
    const binary = bytes.readUInt16LE(at + 6) === 1;
    if (size > bytes.length - at || lengths[0] === 0 || lengths.reduce((n, l) => n + l, 32) > size) refuse(errno.invalid);
    let from = at + 32;
    const [type, data, metadata] = lengths.map((length) => bytes.subarray(from, (from += length)));
    list.push({ type: text(type), data: binary ? new Uint8Array(data) : json(data), metadata: metadata.length > 0 ? json(metadata) : undefined, binary });
    at += size;
  }
  return list;
}

function text(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return refuse(errno.invalid);
  }
}

function json(bytes) {
  try {
    return JSON.parse(text(bytes));
  } catch {
    return refuse(errno.invalid);
  }
}

/** A plugin's module with its state. */
export class Test {
  /** Committed state, of keys to texts. */
  state = new Map();
  /** A configuration: an object. */
  config = {};
  secrets = new Map();
  /** Sums of counters, last values of others. */
  metrics = new Map();
  /** Answers requests to other servers, from an object to an object. They are unsupported without. */
  http = undefined;

  #module;
  #memory;
  #exports;
  #log = [];
  #batch;

  /** Loads a module that was built. */
  static async of(file) {
    const test = new Test();
    test.#module = await WebAssembly.compile(readFileSync(file));
    return test;
  }

  /** Makes a new instance, as a node does after an event that was not done. */
  #start() {
    const gyre = this.#imports();
    const fail = (code, message) => {
      throw new Error(`the plugin failed with code ${code}: ${message}`);
    };
    gyre.fail = (code, at, length) => fail(code, text(this.#bytes(at, length)));
    const instance = new WebAssembly.Instance(this.#module, { gyre_1: gyre, env: { abort: () => fail(1, "abort") } });
    this.#exports = instance.exports;
    this.#memory = instance.exports.memory;
  }

  #bytes(at, length) {
    return Buffer.from(this.#memory.buffer, at, length);
  }

  #text(at, length) {
    return text(this.#bytes(at, length));
  }

  #give(value, into, cap) {
    if (value.length <= cap) this.#bytes(into, cap).set(value);
    return value.length;
  }

  /** The imports. What they throw as a Refusal is an errno. */
  #imports() {
    const b = () => this.#batch;
    const imports = {
      batch_read: (offset, into, cap) => this.#give(b().bytes.subarray(offset, offset + cap), into, cap),
      event_begin: (index) => {
        b().current = index;
        b().random = BigInt(b().events[index].position) * 0x9e3779b97f4a7c15n;
      },
      event_result: (index, action, delayMs, at, length) => {
        b().results[index] = { action: actions[action], delayMs, text: this.#text(at, length) };
      },
      append: (stream, streamLength, expected, at, length) =>
        this.#append(this.#text(stream, streamLength), expected, Buffer.from(this.#bytes(at, length))),
      state_get: (key, length, into, cap) => this.#give(this.#get(this.#text(key, length)), into, cap),
      state_put: (key, keyLength, at, length) => this.#write(this.#text(key, keyLength), Buffer.from(this.#bytes(at, length))),
      state_del: (key, length) => this.#write(this.#text(key, length), undefined),
      state_scan: (prefix, prefixLength, after, afterLength, limit, into, cap) =>
        this.#give(this.#scan(this.#text(prefix, prefixLength), this.#text(after, afterLength), limit, cap), into, cap),
      stream_read: (stream, length, from, limit, into, cap) => {
        const events = this.#log.filter((e) => e.stream === this.#text(stream, length));
        if (events.length === 0) refuse(errno.notFound);
        const found = events.filter((e) => BigInt(e.version) >= from).slice(0, Math.min(limit, max.batchEvents));
        return this.#give(encodeBatch(found), into, cap);
      },
      config_get: (name, length, into, cap) => {
        const member = this.#text(name, length);
        const value = member === "" ? this.config : this.config[member];
        return this.#give(value === undefined ? refuse(errno.notFound) : bytesOf(value), into, cap);
      },
      secret_get: (name, length, into, cap) => this.#give(encoder.encode(this.secrets.get(this.#text(name, length)) ?? refuse(errno.notFound)), into, cap),
      http: (request, length, into, cap) => {
        if (this.http === undefined) refuse(errno.unsupported);
        return this.#give(bytesOf(this.http(json(this.#bytes(request, length)))), into, cap);
      },
      log: (level, at, length) => {
        b().logs.push({ level: levels[level], text: this.#bytes(at, Math.min(length, max.lineBytes)).toString() });
      },
      metric: (kind, name, length, value) => this.#metric(kind, this.#text(name, length), value),
      now_us: () => (b().current < 0 ? 0n : b().events[b().current].timeMicros),
      random: (into, length) => {
        for (const bytes = this.#bytes(into, length), at = { i: 0 }; at.i < length; at.i++) {
          b().random = BigInt.asUintN(64, b().random * 6364136223846793005n + 1442695040888963407n);
          bytes[at.i] = Number(b().random >> 56n);
        }
      },
    };
    const guarded = (call) => (...args) => {
      try {
        return call(...args) ?? 0;
      } catch (e) {
        if (e instanceof Refusal) return e.errno;
        throw e;
      }
    };
    return Object.fromEntries(Object.entries(imports).map(([name, call]) => [name, guarded(call)]));
  }

  #spend(n) {
    if (this.#batch.effects + n > max.effectBytes) refuse(errno.quota);
    this.#batch.effects += n;
  }

  #append(stream, expected, bytes) {
    const b = this.#batch;
    const list = decodeAppended(bytes);
    if (b.current < 0 || list.length === 0 || stream === "" || expected < -3n) refuse(errno.invalid);
    if (b.appended.length + list.length > max.appended) refuse(errno.quota);
    this.#spend(Buffer.byteLength(stream) + bytes.length);
    list.forEach((e, i) => {
      b.appended.push({ event: b.first + b.current, stream, expected: i === 0 ? Number(expected) : -3, ...e });
    });
  }

  #checkKey(key) {
    if (key === "") refuse(errno.invalid);
    if (Buffer.byteLength(key) > max.keyBytes) refuse(errno.tooLarge);
  }

  #write(key, value) {
    const b = this.#batch;
    this.#checkKey(key);
    if (b.current < 0) refuse(errno.invalid);
    if (value !== undefined && value.length > max.valueBytes) refuse(errno.tooLarge);
    if (b.writes.length >= max.writes) refuse(errno.quota);
    this.#spend(Buffer.byteLength(key) + (value?.length ?? 0));
    b.writes.push({ event: b.current, key, value });
    if (value === undefined) b.staged.delete(key);
    else b.staged.set(key, value);
  }

  #get(key) {
    this.#checkKey(key);
    return this.#batch.staged.get(key) ?? refuse(errno.notFound);
  }

  #scan(prefix, after, limit, cap) {
    const keys = [...this.#batch.staged.keys()].filter((k) => k.startsWith(prefix) && compare(k, after) > 0);
    const page = [];
    let size = 0;
    for (const k of keys.sort(compare).slice(0, limit)) {
      const key = Buffer.from(k);
      const value = this.#batch.staged.get(k);
      if (size + 8 + key.length + value.length > cap) break;
      const lengths = Buffer.alloc(8);
      lengths.writeUInt32LE(key.length, 0);
      lengths.writeUInt32LE(value.length, 4);
      page.push(lengths, key, value);
      size += 8 + key.length + value.length;
    }
    return Buffer.concat(page);
  }

  #metric(kind, name, value) {
    if (name === "" || kind < 0 || kind > 2 || Number.isNaN(value)) refuse(errno.invalid);
    if (!this.metrics.has(name) && this.metrics.size >= max.series) refuse(errno.quota);
    this.metrics.set(name, kind === 0 ? (this.metrics.get(name) ?? 0) + value : value);
  }

  /** Gives events their places, and adds them to their streams. */
  #add(events) {
    return events.map((e) => {
      const position = this.#log.length + 1;
      const added = {
        stream: e.stream,
        type: e.type,
        bytes: bytesOf(e.data),
        isJSON: !(e.data instanceof Uint8Array),
        metadata: e.metadata,
        attempt: e.attempt ?? 1,
        replay: e.replay ?? false,
        position,
        version: this.#log.filter((other) => other.stream === e.stream).length + 1,
        timeMicros: e.time === undefined ? firstDay + BigInt(position) * 1_000_000n : BigInt(Date.parse(e.time)) * 1000n,
      };
      this.#log.push(added);
      return added;
    });
  }

  /**
   * Hands events to the handler, in one batch as long as all goes well. It goes on behind an event that is parked, and
   * ends at one that is retried or at a stop. data is what becomes JSON, or a Uint8Array. An event of a module that
   * breaks is one that is retried.
   *
   * It returns results, one for each event ({action, delayMs, text}; undefined if it was not handled), appended and logs.
   */
  handle(events) {
    const list = this.#add(events);
    const done = { results: new Array(list.length), appended: [], logs: [] };
    for (let first = 0; first < list.length; ) {
      const finished = this.#handleBatch(list.slice(first, first + max.batchEvents), first, done);
      if (finished === 0) break;
      first += finished;
    }
    return done;
  }

  /** Hands out a batch and commits it. It returns after how many events the lane goes on, or 0. */
  #handleBatch(events, first, done) {
    const verdict = this.#call("gyre_handle", events, first);
    const b = this.#batch;
    done.logs.push(...b.logs);
    let end = 0;
    if (verdict.failed !== undefined) {
      done.results[first + Math.max(b.current, 0)] = verdict.failed;
    } else {
      while (end < events.length && !["retry", "park"].includes(b.results[end]?.action)) end++;
      for (let i = 0; i <= end && i < events.length; i++) done.results[first + i] = b.results[i] ?? { action: "ack", delayMs: 0, text: "" };
    }
    const isKept = (effect, event) => event < end;
    for (const w of b.writes.filter((w) => isKept(w, w.event))) {
      if (w.value === undefined) this.state.delete(w.key);
      else this.state.set(w.key, text(w.value));
    }
    done.appended.push(...b.appended.filter((a) => isKept(a, a.event - first)));
    if (end < events.length) this.#exports = undefined; // the instance has seen what is not so
    if (verdict.failed !== undefined || b.results[end]?.action === "retry") return 0;
    return Math.min(end + 1, events.length);
  }

  /** Judges events with gyre_filter, gyre_map, gyre_partition or gyre_validate, whichever the module has. */
  judge(events) {
    this.#exports ?? this.#start();
    const entry = ["gyre_filter", "gyre_map", "gyre_partition", "gyre_validate"].find((name) => name in this.#exports);
    return this.#add(events).map((event) => {
      const verdict = this.#call(entry, [event], 0);
      return verdict.failed ?? this.#batch.results[0];
    });
  }

  /** Asks gyre_query. It returns the answer, a text, or throws an error with the reason. */
  query(text) {
    const { failed } = this.#call("gyre_query", [], 0, encoder.encode(text));
    const result = this.#batch.results[0];
    if (failed !== undefined || result?.action !== "ack") throw new Error(result?.text ?? failed.text);
    return result.text;
  }

  /** Calls a function of the module with a batch. failed is what becomes of an event that it does not get done. */
  #call(entry, events, first, bytes = encodeBatch(events)) {
    this.#batch = {
      events, first, bytes, current: -1, random: 0n, effects: 0,
      results: [], appended: [], writes: [], logs: [],
      staged: new Map([...this.state].map(([key, value]) => [key, Buffer.from(value)])),
    };
    try {
      if (this.#exports === undefined) this.#start();
      const verdict = this.#exports[entry](this.#batch.bytes.length, events.length, 1);
      return verdict === 0 ? {} : { failed: { action: "stop", delayMs: 0, text: this.#batch.logs.at(-1)?.text ?? "" } };
    } catch (e) {
      this.#exports = undefined;
      return { failed: { action: "retry", delayMs: 0, text: e.message } };
    }
  }
}
