// The parts of the client for themselves.

import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { inflate } from "../dist/deflate.js";
import { abortError, errorOf } from "../dist/errors.js";
import { exactOf } from "../dist/exact.js";
import { newId, parseId } from "../dist/id.js";
import { Inbox } from "../dist/inbox.js";
import { GyreError } from "../dist/index.js";
import { closeError } from "../dist/session.js";
import { elementsOf, fromBase64, membersOf, textOf, toBase64, utf8, utf8Length } from "../dist/text.js";
import { formatTime, parseTime } from "../dist/time.js";
import { Window } from "../dist/window.js";

test("JSON is taken apart as it is written", () => {
  const text = ' { "a" : 1.10 ,"b\\"\\\\":"}]\\\\","c":{"x":[1,"]",{}],"y":"\\\\\\""} , "d":[ ],"e":true}';
  assert.deepEqual(
    [...membersOf(text)],
    [
      ["a", "1.10"],
      ['b"\\', '"}]\\\\"'],
      ["c", '{"x":[1,"]",{}],"y":"\\\\\\""}'],
      ["d", "[ ]"],
      ["e", "true"],
    ],
  );
  assert.deepEqual([...membersOf("{ }")], []);
  assert.deepEqual(elementsOf(' [ 1E400 ,"a,b",[2,3], {"x":","}]'), ["1E400", '"a,b"', "[2,3]", '{"x":","}']);
  assert.deepEqual(elementsOf("[ ]"), []);
});

test("an answer has what was written beside what JavaScript makes of it", () => {
  const value = '{"n":9007199254740993,"value":1.10}';
  const output = `{"stream":"s","value":${value},"metadata":{"n":1e400}}`;
  assert.deepEqual(exactOf(`{"tried":{"first":[${output},{"valueBase64":"AA=="}],"count":2},"none":[]}`), {
    tried: {
      first: [
        {
          stream: "s",
          value: JSON.parse(value),
          valueText: value,
          metadata: { n: Number.POSITIVE_INFINITY },
          metadataText: '{"n":1e400}',
        },
        { valueBase64: "AA==" },
      ],
      count: 2,
    },
    none: [],
  });
});

test("JSON that is cut off is refused", () => {
  for (const text of ['{"a":[1,"]\\"",{"b":{}}],"c":"\\\\"}', '[{"a":"x"},[ ],"y", 2 ]']) {
    for (let n = 1; n < text.length; n++) {
      assert.throws(() => exactOf(text.slice(0, n)), SyntaxError, text.slice(0, n));
    }
    assert.deepEqual(exactOf(text), JSON.parse(text));
  }
});

test("JSON that is taken apart means the same", () => {
  // Values made of all that can confuse a scanner, put together at random, from a fixed seed.
  let seed = 1;
  const random = (n: number) => {
    seed = (seed * 48271) % 0x7fffffff;
    return seed % n;
  };
  const value = (depth: number): unknown => {
    const atoms = [null, true, -1.5e-7, "", '"', "\\", '\\"', "]},:", "ü\u2028", "{", 0];
    if (depth === 0 || random(3) === 0) return atoms[random(atoms.length)];
    const list = Array.from({ length: random(4) }, () => value(depth - 1));
    return random(2) ? list : Object.fromEntries(list.map((v, i) => [`${i}${atoms[random(atoms.length)]}`, v]));
  };
  for (let i = 0; i < 2000; i++) {
    const o = { data: value(4), x: value(3) };
    for (const text of [JSON.stringify(o), JSON.stringify(o, null, random(4))]) {
      assert.deepEqual(Object.fromEntries([...membersOf(text)].map(([k, v]) => [k, JSON.parse(v)])), o);
      const list = JSON.stringify([o, o.data], null, random(3));
      assert.deepEqual(
        elementsOf(list).map((v) => JSON.parse(v)),
        [o, o.data],
      );
    }
  }
});

test("text and bytes", () => {
  for (const s of ["", "a", "ü", "日本", "😀", "a".repeat(100), "\u{10ffff}x".repeat(30)]) {
    assert.equal(utf8Length(s), utf8(s).length);
    assert.equal(textOf(utf8(s)), s);
    assert.deepEqual(fromBase64(toBase64(utf8(s))), utf8(s));
    assert.equal(toBase64(utf8(s)), Buffer.from(s).toString("base64"));
  }
});

test("times", () => {
  for (const [micros, text] of [
    [0n, "1970-01-01T00:00:00Z"],
    [100_000n, "1970-01-01T00:00:00.1Z"],
    [-1n, "1969-12-31T23:59:59.999999Z"],
    [123_456n, "1970-01-01T00:00:00.123456Z"],
    [9_223_372_036_854_775n, "2262-04-11T23:47:16.854775Z"],
  ] as const) {
    assert.equal(formatTime(micros), text);
    assert.equal(parseTime(text), micros);
  }
  assert.equal(parseTime("1970-01-01t01:00:00.1234567+01:00"), 123_456n);
  assert.equal(parseTime("1990-12-31T15:59:60.5-08:00"), parseTime("1991-01-01T00:00:00.5Z"));
  assert.equal(parseTime(new Date(5)), 5000n);
  for (const bad of [
    "",
    "1990-12-31T12:59:60Z",
    "1990-12-31T23:59:61Z",
    "2026",
    "2026-13-01T00:00:00Z",
    "2026-01-01 00:00:00Z",
    new Date(Number.NaN),
  ]) {
    assert.throws(() => parseTime(bad), { code: "invalid_event_time" });
  }
});

test("ids are UUIDv7 that sort as they were made", () => {
  const before = Date.now();
  const ids = Array.from({ length: 10_000 }, newId);
  assert.equal(new Set(ids).size, ids.length);
  assert.deepEqual(ids.toSorted(), ids);
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const at = Number.parseInt((ids[0] as string).replace("-", "").slice(0, 12), 16);
  assert.ok(at >= before && at <= Date.now() + 1);
  for (const bad of ["", "x", "00000000-0000-0000-0000-000000000000", `${ids[0]}0`]) {
    assert.throws(() => parseId(bad), { code: "invalid_event_id" });
  }
});

test("a compressed block is taken if it is what it says", async () => {
  const text = utf8("nothing new, ".repeat(1000));
  const coded = new Uint8Array(deflateRawSync(text));
  assert.deepEqual(await inflate(coded, text.length), text);
  const bomb = new Uint8Array(deflateRawSync(new Uint8Array(4 << 20)));
  for (const [name, block, raw] of [
    ["more than it says", coded, text.length - 1],
    ["less than it says", coded, text.length + 1],
    ["a bomb", bomb, 1000],
    ["more than can be", new Uint8Array([1, 2]), 1 << 20],
    ["cut", coded.subarray(0, -1), text.length],
    ["damaged", coded.map(() => 0xff), text.length],
    ["nothing", new Uint8Array(), 0],
  ] as const) {
    await assert.rejects(inflate(block, raw), { code: "protocol_error" }, name);
  }
});

test("the window admits in order, and a single request always", () => {
  const w = new Window(2, 100);
  const admitted: string[] = [];
  const enter = (name: string, bytes: number) => w.enter(bytes, () => admitted.push(name));
  const huge = enter("huge", 1000);
  const a = enter("a", 60);
  const b = enter("b", 60);
  const c = enter("c", 10);
  const d = enter("d", 10);
  assert.deepEqual(admitted, ["huge"]);
  huge();
  assert.deepEqual(admitted, ["huge", "a"], "b has no room, and c waits behind it");
  b(); // gives up
  assert.deepEqual(admitted, ["huge", "a", "c"]);
  a();
  assert.deepEqual(admitted, ["huge", "a", "c", "d"]);
  c();
  d();
  for (let i = 0; i < 100_001; i++) enter("more", 100);
  assert.throws(() => enter("more", 100), { code: "too_many_requests", retryable: true });
});

test("an inbox gives half of its credit back at a time", async () => {
  const given: number[] = [];
  const inbox = new Inbox({ events: 4, bytes: 100 }, (c) => given.push(c.events));
  const arrival = (n: number, bytes: number) => ({ events: Array(n).fill(null), bytes, cursor: "", head: 0, live: false });
  inbox.push(arrival(1, 10));
  inbox.push(arrival(0, 0));
  inbox.push({ ...arrival(0, 0), live: true });
  inbox.push(arrival(1, 10));
  inbox.push(arrival(1, 60));
  assert.deepEqual(inbox.allowance(), { events: 1, bytes: 20 });
  await inbox.next();
  assert.equal((await inbox.next())?.live, true, "the last state");
  assert.deepEqual(given, []);
  await inbox.next();
  assert.deepEqual(given, [2]);
  await inbox.next();
  assert.deepEqual(given, [2, 1], "by its bytes");
  const waiting = inbox.next();
  inbox.end(new GyreError("canceled", "enough"));
  await assert.rejects(waiting, { code: "canceled" });
});

test("errors", () => {
  const e = errorOf({
    code: "wrong_expected_version",
    detail: "no",
    retryable: false,
    expected: "any",
    actual: 7,
    stream: "s",
    element: 0,
  });
  assert.deepEqual(
    [e.code, e.detail, e.retryable, e.expected, e.actual, e.stream, e.element],
    ["wrong_expected_version", "no", false, "any", 7, "s", 0],
  );
  assert.equal(String(e), "GyreError: wrong_expected_version: no");
  assert.ok(GyreError.is(e) && GyreError.is(e, "x", "wrong_expected_version") && !GyreError.is(e, "x") && !GyreError.is(new Error("x")));
  assert.equal(errorOf({ code: "from_the_future", retryable: true }).retryable, true);
  assert.equal(abortError(AbortSignal.abort()).code, "canceled");
  for (const [code, reason, want, retryable] of [
    [4000, "4000 shutdown", "unavailable", true],
    [4001, "4001 slow_writer", "unavailable", true],
    [1006, "", "unavailable", true],
    [1000, "", "unavailable", true],
    [1009, "", "protocol_error", false],
    [4502, "4502 protocol_error", "protocol_error", false],
    [4504, "4504 hello_timeout", "hello_timeout", false],
    [4999, "", "protocol_error", false],
  ] as const) {
    const closed = closeError(code, reason);
    assert.deepEqual([closed.code, closed.retryable], [want, retryable], `${code} ${reason}`);
  }
});
