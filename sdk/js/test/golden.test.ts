// Holds this client to the files that the server's tests write: every frame and every
// message there is.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inflate } from "../dist/deflate.js";
import type { PreparedEvent, RecordedEvent } from "../dist/event.js";
import * as frames from "../dist/frames.js";
import { parseId } from "../dist/id.js";
import { GyreError } from "../dist/index.js";
import * as messages from "../dist/messages.js";
import { elementsOf, fromBase64, membersOf } from "../dist/text.js";
import { parseTime } from "../dist/time.js";

const testdata = new URL("../../../wsapi/wire/testdata/", import.meta.url);
const framesText = readFileSync(new URL("frames.json", testdata), "utf8");
const messagesText = readFileSync(new URL("messages.json", testdata), "utf8");

interface EventMeans {
  id?: string;
  type: string;
  time?: string;
  data?: unknown;
  dataBase64?: string;
  contentType?: string;
  metadata?: object;
}

interface FrameMeans {
  kind: number;
  id: number;
  sub: number;
  answer?: number;
  events: EventMeans[];
  attempts?: number[];
  replay?: boolean;
  stream: string;
  expect: number | "any";
  tx: { stream: string; expect: number | "any"; events?: EventMeans[]; links?: string[] }[];
  checks: messages.Check[];
  progress?: messages.Progress;
  streams?: unknown[];
  node?: string;
  duplicate: boolean;
  appends: messages.Appended[];
  timeoutMs?: number;
  compress?: string;
  ranges: frames.ResultRange[];
  positions?: number[];
  upTo?: number;
  versions?: number[];
  upToVersion?: number;
  durable?: boolean;
  bytes: number;
}

/** The elements of what may be an array: the events of a frame of credit are a number. */
const elementsIf = (text?: string) => (text?.startsWith("[") ? elementsOf(text) : []);

/** The vectors of frames.json; their meaning also as it is written. */
const allFrames = elementsOf(framesText).map((text) => {
  const written = membersOf(membersOf(text).get("means") as string);
  const { name, hex, means } = JSON.parse(text) as { name: string; hex: string; means: FrameMeans };
  const tx = elementsIf(written.get("tx")).map((a) => elementsIf(membersOf(a).get("events")));
  return { name, bytes: new Uint8Array(Buffer.from(hex, "hex")), means, events: elementsIf(written.get("events")), tx };
});

/** Whether this client sends no such message: it names events by position, not by version, and changes streams over HTTP. */
const isUnsent = (m: { versions?: number[]; upToVersion?: number; op?: string; streams?: unknown }) =>
  (m.versions ?? m.upToVersion ?? (m.op === undefined || m.op === "append" ? m.streams : undefined)) !== undefined;

/** Those that this client sends and gets: it accepts DEFLATE and no other codec, and does not compress what it sends. */
const frameVectors = allFrames.filter(
  ({ means }) => (means.compress === undefined || (means.compress === "deflate-raw" && means.kind === 1)) && !isUnsent(means),
);

test("frames of a codec that was not asked for are refused", async () => {
  const others = allFrames.filter(({ means }) => means.compress === "zstd" && means.kind === 1);
  assert.equal(others.length, 2);
  for (const { bytes } of others) await assert.rejects(decodeAll(bytes), { code: "protocol_error" });
});

/** JSON without the spaces between its tokens. */
const compact = (text: string) => text.replace(/("(?:[^"\\]|\\.)*")|\s+/g, "$1");

/** A new event as a vector says it, with no id where it says none. */
function newEvent(o: EventMeans, written: string): PreparedEvent {
  const members = membersOf(written);
  return {
    id: o.id ?? "",
    idBytes: o.id === undefined ? new Uint8Array(16) : parseId(o.id),
    type: o.type,
    micros: o.time === undefined ? undefined : parseTime(o.time),
    data: o.dataBase64 === undefined ? compact(members.get("data") as string) : fromBase64(o.dataBase64),
    contentType: o.contentType ?? "",
    metadata: compact(members.get("metadata") ?? ""),
  };
}

/** Holds a decoded event to its event object, down to its number literals. */
function checkEvent(e: RecordedEvent, written: string): void {
  const { attempt: _, ...o } = JSON.parse(written);
  const members = membersOf(written);
  assert.deepEqual(e.toJSON(), o);
  assert.equal(e.isJSON, members.has("data"));
  if (e.isJSON) assert.equal(compact(e.dataText), compact(members.get("data") as string));
  assert.equal(compact(e.metadataText), compact(members.get("metadata") as string));
}

async function decodeAll(message: Uint8Array, limit = 1 << 20): Promise<frames.ServerFrame[]> {
  const all: frames.ServerFrame[] = [];
  for (const f of frames.frames(message, limit, inflate)) all.push(await f);
  return all;
}

for (const { name, bytes, means, events, tx } of frameVectors) {
  test(`frame: ${name}`, async () => {
    switch (means.kind) {
      case 1: {
        const [f, ...others] = (await decodeAll(bytes)) as frames.EventsFrame[];
        assert.ok(f);
        assert.equal(others.length, 0);
        assert.equal(f.sub, means.answer ?? means.sub);
        assert.equal(f.answer, means.answer !== undefined);
        assert.deepEqual(f.attempts, means.attempts);
        assert.equal(f.replay, means.replay ?? false);
        assert.equal(f.events.length, events.length);
        f.events.forEach((e, i) => checkEvent(e, events[i] as string));
        break;
      }
      case 2: {
        const prepared = means.events.map((e, i) => newEvent(e, events[i] as string));
        const { id, stream, expect, timeoutMs } = means;
        assert.deepEqual(frames.commitFrame(id, [{ stream, expect, events: prepared }], [], timeoutMs), bytes);
        break;
      }
      case 6: {
        const appends = (means.tx ?? []).map(({ stream, expect, events = [], links }, i) => {
          const prepared = events.map((e, j) => newEvent(e, tx[i]?.[j] as string));
          return { stream, expect, events: prepared, links };
        });
        assert.deepEqual(frames.commitFrame(means.id, appends, means.checks ?? [], means.timeoutMs, means.progress), bytes);
        break;
      }
      case 7: {
        assert.deepEqual(await decodeAll(bytes), [means]);
        break;
      }
      case 3:
        assert.deepEqual(await decodeAll(bytes), [means]);
        break;
      case 4: {
        const target = means.upTo === undefined ? { positions: means.positions ?? [] } : { upTo: means.upTo };
        assert.deepEqual(frames.ackFrame(means.id, means.sub, target, means.durable === true), bytes);
        break;
      }
      case 5:
        assert.deepEqual(frames.creditFrame(means.sub, { events: means.events as unknown as number, bytes: means.bytes }), bytes);
        break;
      default:
        assert.fail(`frames of kind ${means.kind} are not known here`);
    }
  });
}

const fromServer = frameVectors.filter(({ means }) => [1, 3, 7].includes(means.kind));

test("frames of one message follow each other", async () => {
  const message = Buffer.concat(fromServer.map((v) => v.bytes));
  const decoded = await decodeAll(new Uint8Array(message));
  assert.deepEqual(
    decoded.map((f) => f.kind),
    fromServer.map((v) => v.means.kind),
  );
});

test("frames that are cut short, damaged or too large are refused", async () => {
  const refused = (message: Uint8Array, limit?: number) => assert.rejects(decodeAll(message, limit), { code: "protocol_error" });
  for (const { bytes } of fromServer) {
    for (let cut = 1; cut < bytes.length; cut++) await refused(bytes.subarray(0, cut));
  }
  const compressed = fromServer.filter((v) => (v.bytes[1] as number) & 1);
  assert.equal(compressed.length, 2);
  for (const { bytes } of compressed) {
    await refused(bytes, 0);
    await refused(bytes, 100);
    await refused(bytes.with(bytes.length - 1, 0xff).with(20, 0xff));
  }
  await refused(new Uint8Array([9, 0]));
  await refused(new Uint8Array([1, 0x80, 1, 0]));
  await refused(new Uint8Array([1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]));
  await refused(new Uint8Array([1, 4, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]));
  await refused(new Uint8Array([3, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]));
  await refused(new Uint8Array([7, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]));
  await refused(new Uint8Array([7, 4, 1, 0]));
  await refused(new Uint8Array([1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]));
});

const id1 = "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11";
const prepared = (e: EventMeans) => newEvent(e, JSON.stringify(e));
const news = [
  newEvent(
    { id: id1, type: "OrderPaid", data: 0, metadata: { a: 1 } },
    `{"data":{"amount":1.10},"metadata":{"a":1}}`, // the literal 1.10 is not JavaScript's
  ),
  prepared({
    id: "01000000-0000-0000-0000-000000000002",
    type: "B",
    time: "1969-12-31T23:59:59.999999Z",
    dataBase64: "AP8=",
    contentType: "image/png",
  }),
] as const;
const credit = { events: 256, bytes: 1 << 20 };
const follow = (from: messages.From, filter?: messages.Filter, stream = "$all") =>
  messages.followText(6, 1, { stream, from, filter, credit });

/** How this client writes each message of a client, by the name of its vector. */
const written: Record<string, () => string> = {
  hello: () => messages.helloText("gyre-js", "1.0.0", ["deflate-raw"], ""),
  "hello with a token": () => messages.helloText("gyre-js", "1.0.0", [], "gyre_k1_secret"),
  refresh: () => messages.refreshText(12, "gyre_k2_secret"),
  append: () => messages.appendText(2, [{ stream: "order-42", expect: "no_stream", events: [...news] }], [], undefined),
  "append within 1.5 s": () => messages.appendText(3, [{ stream: "order-42", expect: 3, events: [news[0]] }], [], 1500),
  transaction: () =>
    messages.appendText(
      4,
      [
        { stream: "a", expect: "any", events: [news[0]] },
        { stream: "b", expect: "stream_exists", events: [news[1]] },
      ],
      [{ stream: "c", expect: 0 }],
      undefined,
    ),
  "append of links": () => messages.appendText(2, [{ stream: "paid", expect: 7, events: [], links: [id1, news[1].id] }], [], undefined),
  "transaction with links": () =>
    messages.appendText(
      4,
      [
        { stream: "a", expect: "any", events: [news[0]] },
        { stream: "paid", expect: "any", events: [], links: [id1] },
      ],
      [],
      undefined,
    ),
  "append with a progress": () =>
    messages.appendText(2, [{ stream: "paid", expect: 7, events: [news[0]] }], [], undefined, {
      name: "billing",
      from: 10011,
      to: 10012,
      log: "k3f9",
    }),
  "transaction with a progress": () =>
    messages.appendText(
      4,
      [
        { stream: "a", expect: "any", events: [news[0]] },
        { stream: "b", expect: "stream_exists", events: [news[1]] },
      ],
      [],
      undefined,
      { name: "billing", from: 0, to: 10012 },
    ),
  "append of a progress alone": () => messages.appendText(2, [], [], undefined, { name: "billing", from: 1, to: 10012, id: id1 }),
  "subscribe at a progress": () => follow({ progress: "billing" }),
  read: () => messages.readText(5, { stream: "order-42", from: 3, limit: 100 }),
  "read backward": () => messages.readText(5, { stream: "$all", from: 0, backward: true, bytes: 1000, timeoutMs: 1500 }),
  "read of the system": () => messages.readText(5, { stream: "$all", limit: 100, system: true }),
  "subscribe to the system": () => messages.followText(6, 1, { stream: "$all", from: "start", system: true, credit }),
  "subscribe from the start": () => follow("start"),
  "subscribe from the end": () => follow("end"),
  "subscribe after a cursor": () => follow({ cursor: "k3f9.10012" }, { streams: ["order-*"], types: ["Order*"] }),
  "subscribe after a position": () => follow({ position: 8 }),
  "subscribe after a version": () => follow({ version: 8 }, undefined, "s"),
  "subscribe from a time": () => follow({ time: "2026-11-23T10:00:00.123Z" }),
  "subscribe to a named subscription": () =>
    messages.namedText(6, 2, {
      subscription: "billing",
      consumer: "w1",
      options: { stream: "$all", filter: { types: ["Order*"] }, bufferSize: 8 },
      credit,
    }),
  "subscribe to a transient subscription": () => messages.namedText(6, 2, { subscription: "cache", transient: true, credit }),
  "subscribe with a buffer of its own": () => messages.namedText(6, 2, { subscription: "billing", workers: 2, bufferSize: 8, credit }),
  credit: () => messages.creditText(1, { events: 128, bytes: 524288 }),
  unsubscribe: () => messages.unsubscribeText(7, 1),
  "ack of two": () => messages.ackText(8, 2, { positions: [10020, 10021] }, false),
  "ack up to one": () => messages.ackText(8, 2, { upTo: 10021 }, false),
  "durable ack": () => messages.ackText(8, 2, { positions: [10020] }, true),
  "nack to retry later": () => messages.nackText(9, 2, [10022], { action: "retry", delayMs: 5000, reason: "db down" }),
  "nack to retry at once": () => messages.nackText(9, 2, [10022], { action: "retry", delayMs: 0 }),
  "nack to park": () => messages.nackText(9, 2, [10022], { action: "park" }),
  extend: () => messages.extendText(10, 2, [10023], 30000),
  cancel: () => messages.cancelText(11),
  ping: () => messages.pingText("ping", 17),
  pong: () => messages.pingText("pong", 17),
};

for (const { name, from, text } of JSON.parse(messagesText) as { name: string; from: string; text: string }[]) {
  if (isUnsent(JSON.parse(text))) continue;
  test(`message of a ${from}: ${name}`, () => {
    if (from === "client") {
      assert.equal(written[name]?.(), text);
      return;
    }
    const m = messages.decodeMessage(text);
    const plain = JSON.parse(text);
    assert.ok(m);
    if (plain.events === undefined) {
      assert.deepEqual(m, plain);
    } else {
      const events = (m as { events: RecordedEvent[] }).events;
      elementsOf(membersOf(text).get("events") as string).forEach((t, i) => checkEvent(events[i] as RecordedEvent, t));
      assert.equal(events.length, plain.events.length);
      assert.deepEqual((m as { attempts?: number[] }).attempts, name === "deliveries" ? [2, 2, 2, 2] : undefined);
      const { events: _, ...rest } = plain;
      assert.deepEqual(
        { ...m, events: undefined, attempts: undefined, replay: undefined },
        { ...rest, events: undefined, attempts: undefined, replay: undefined },
      );
    }
  });
}

test("messages from the future are passed over, broken ones refused", () => {
  assert.equal(messages.decodeMessage('{"op":"later","x":1}'), undefined);
  for (const text of ["", "null", "1", "[]", "{}", '{"op":1}', '{"op":"ok","events":[{}]}', '{"op":"events","events":[1]}']) {
    assert.throws(
      () => messages.decodeMessage(text),
      (e) => GyreError.is(e, "protocol_error"),
      text,
    );
  }
});
