// The client against a real node: both encodings, both WebSockets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket as WS } from "ws";
import { type Batch, type ConnectionState, type ConnectOptions, connect, GyreError, newId, type RecordedEvent } from "../dist/index.js";
import { Node } from "./node.js";

const modes: Record<string, ConnectOptions> = {
  bin: {},
  json: { json: true },
  "bin, compressed": { compress: true },
  // Undefined is the platform's own; where there is none, it is that of ws again.
  "bin, the platform's WebSocket": { WebSocket: "WebSocket" in globalThis ? undefined : WS },
  "json, the platform's WebSocket": { json: true, WebSocket: "WebSocket" in globalThis ? undefined : WS },
};

/** So many events of a stream or follow. */
async function take<E extends RecordedEvent>(events: AsyncIterable<E>, n: number): Promise<E[]> {
  const list: E[] = [];
  if (n > 0) {
    for await (const e of events) {
      list.push(e);
      if (list.length === n) break;
    }
  }
  return list;
}

async function refused(what: Promise<unknown>, code: string): Promise<GyreError> {
  const e = await what.then(
    (v) => assert.fail(`${JSON.stringify(v)}, and not ${code}`),
    (err: unknown) => err,
  );
  assert.ok(GyreError.is(e), String(e));
  assert.equal(e.code, code, e.message);
  return e;
}

for (const [mode, o] of Object.entries(modes)) {
  test(`links: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, o);
    const [a, b] = [newId(), newId()];
    await c.append("home", [
      { id: a, type: "A", data: { n: 1 }, metadata: { by: "me" } },
      { id: b, type: "B", dataBytes: new Uint8Array([0, 0xff]) },
    ]);
    const following = take(c.follow("l"), 3);
    const first = await c.link("l", [b, a.toUpperCase()], { expect: "no_stream" });
    assert.deepEqual(first, { version: 2, position: 4, count: 2, duplicate: false, node: "n1" });
    assert.deepEqual(await c.link("l", [b, a]), { ...first, duplicate: true });
    const [eb, ea] = (await c.read("l")).events as [RecordedEvent, RecordedEvent];
    assert.deepEqual([eb.id, eb.version, eb.position, eb.link], [b, 1, 3, { stream: "home", version: 2, position: 2 }]);
    assert.deepEqual([ea.id, ea.data, ea.metadata, ea.link], [a, { n: 1 }, { by: "me" }, { stream: "home", version: 1, position: 1 }]);
    assert.equal((await c.event(a)).link, undefined);
    await c.transact([
      { stream: "other", events: [{ id: newId(), type: "C", data: 3 }] },
      { stream: "m", links: [a] },
    ]);
    const last = newId();
    await c.append("l", { id: last, type: "D", data: 4 });
    assert.deepEqual(
      (await following).map((e) => e.id),
      [b, a, last],
    );
    assert.deepEqual(
      (await c.read("$all")).events.map((e) => [e.position, e.link]),
      [1, 2, 5, 7].map((p) => [p, undefined]),
    );
    const none = newId();
    assert.equal((await refused(c.link("l", none), "event_not_found")).eventId, none);
    await refused(c.link("home", a), "duplicate_event");
    await refused(c.link("l", []), "empty_append");
    await refused(c.link("l", "x"), "invalid_event_id");
    await refused(c.transact([{ stream: "l", links: [a], events: [{ type: "E", data: 5 }] }]), "invalid_request");
  });

  test(`selected reads: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, o);
    for (let n = 0; n < 6; n++) {
      const time = new Date(Date.UTC(2022, 0, 1 + n)).toISOString();
      await c.append(n % 2 ? "file-1" : "order-1", {
        id: newId(),
        type: `T${n % 3}`,
        time,
        data: n,
        metadata: { correlation_id: `c${n % 2}` },
      });
    }
    const numbers = async (range: Parameters<typeof c.readAll>[1]) => {
      const found: unknown[] = [];
      for await (const e of c.readAll("$all", { ...range, pageSize: 2 })) found.push(e.data);
      return found;
    };
    assert.deepEqual(await numbers({ category: "file" }), [1, 3, 5]);
    assert.deepEqual(await numbers({ filter: { types: ["T0"] }, backward: true }), [3, 0]);
    assert.deepEqual(await numbers({ since: "2022-01-03T00:00:00Z", until: new Date(Date.UTC(2022, 0, 5)) }), [2, 3]);
    assert.deepEqual(await numbers({ correlation: "c1", category: "order" }), []);
    assert.deepEqual(await numbers({ fromTime: "2020-01-01T00:00:00Z" }), [0, 1, 2, 3, 4, 5]);
    assert.deepEqual(await numbers({ fromTime: new Date(Date.UTC(2020, 0, 1)), backward: true }), []);
    const page = await c.read("file-1", { filter: { types: ["T1"] } });
    assert.deepEqual([page.events.length, page.scanned, page.end], [1, 3, true]);
    await refused(c.read("$all", { category: "order-1" }), "invalid_filter");
  });

  test(`append, read and follow: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, o);
    const id = newId();
    const first = await c.append(
      "order/ü",
      [
        {
          id,
          type: "OrderPlaced",
          dataText: '{"total":1.10,"big":1E400}',
          metadata: { correlation_id: "c" },
          time: "2020-02-29T10:00:00.123456+01:00",
        },
        { type: "日本", dataBytes: new Uint8Array([0, 0xff]), contentType: "image/png" },
        { type: "Null", data: null },
      ],
      { expect: "no_stream" },
    );
    assert.deepEqual(first, { version: 3, position: 3, count: 3, duplicate: false, node: "n1" });
    assert.deepEqual(await c.append("order/ü", { type: "A", data: { a: [1] } }, { expect: 3 }), {
      version: 4,
      position: 4,
      count: 1,
      duplicate: false,
      node: "n1",
    });

    const page = await c.read("order/ü", { from: 1, limit: 3 });
    assert.deepEqual([page.events.length, page.next, page.end, page.version], [3, 4, false, 4]);
    const [a, b, n] = page.events as [RecordedEvent, RecordedEvent, RecordedEvent];
    assert.equal(a.id, id);
    assert.equal(a.dataText, '{"total":1.10,"big":1E400}');
    assert.deepEqual(a.data, { total: 1.1, big: Number.POSITIVE_INFINITY });
    assert.equal(a.time, "2020-02-29T09:00:00.123456Z");
    assert.match(a.recorded, /^20\d\d-.*Z$/);
    assert.deepEqual(a.metadata, { correlation_id: "c" });
    assert.deepEqual([b.isJSON, b.contentType, b.type, [...b.dataBytes]], [false, "image/png", "日本", [0, 0xff]]);
    assert.deepEqual(b.data, new Uint8Array([0, 0xff]));
    assert.deepEqual([n.data, n.metadata], [null, {}]);
    assert.deepEqual(b.toJSON(), (await c.event(b.id)).toJSON());

    const versions = async (o: object) => {
      const list: number[] = [];
      for await (const e of c.readAll("order/ü", { pageSize: 3, ...o })) list.push(e.version);
      return list;
    };
    assert.deepEqual(await versions({}), [1, 2, 3, 4]);
    assert.deepEqual(await versions({ from: 2 }), [2, 3, 4]);
    for (const pageSize of [1, 2, 3, 4, 5]) assert.deepEqual(await versions({ backward: true, pageSize }), [4, 3, 2, 1]);
    const last = await c.read("order/ü", { backward: true, limit: 4 });
    assert.deepEqual([last.events.length, last.next, last.end], [4, undefined, true]);

    const f = c.follow("$all", { from: { after: { position: 1 } }, filter: { types: ["A", "Null"] } });
    const live = take(f, 3);
    await f.started();
    await c.append("other", [
      { type: "B", data: 1 },
      { type: "A", data: 2 },
    ]);
    assert.deepEqual(
      (await live).map((e) => [e.stream, e.version, e.position]),
      [
        ["order/ü", 3, 3],
        ["order/ü", 4, 4],
        ["other", 2, 6],
      ],
    );
    assert.match(f.cursor as string, /^[a-z0-9]+\.6$/);
    await c.append("other", { type: "A", data: 3 });
    assert.deepEqual(
      (await take(c.follow("$all", { from: { cursor: f.cursor as string } }), 1)).map((e) => e.position),
      [7],
    );
    assert.deepEqual(
      (await take(c.follow("other", { from: { version: 3 } }), 1)).map((e) => e.data),
      [3],
    );
  });

  test(`much, with little credit: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, o);
    const total = 3000;
    const text = "nothing new, ".repeat(20);
    await Promise.all(
      Array.from({ length: total / 10 }, (_, i) =>
        // Each expects the version that the one before it makes: they are not overtaken.
        c.append(
          "s",
          Array.from({ length: 10 }, (_, j) => ({ type: "A", data: { n: 10 * i + j, text } })),
          { expect: 10 * i },
        ),
      ),
    );
    const f = c.follow("s", { credit: { events: 64, bytes: 20_000 } });
    let n = 0;
    let status: Batch | undefined;
    for await (const b of f.batches()) {
      for (const e of b.events) assert.deepEqual(e.data, { n: n++, text });
      status = b;
      if (b.live) break;
    }
    assert.equal(n, total);
    assert.equal(status?.head, total);
    assert.equal((await take(c.readAll("$all"), total)).at(-1)?.position, total);
  });

  test(`errors are those of the node: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, o);
    const event = { id: newId(), type: "A", data: 1 };
    await c.append("a", event);
    assert.equal((await c.append("a", event, { expect: "no_stream" })).duplicate, true);
    const wrong = await refused(c.append("a", { type: "A", data: 1 }, { expect: 5 }), "wrong_expected_version");
    assert.deepEqual([wrong.stream, wrong.expected, wrong.actual, wrong.status, wrong.retryable], ["a", 5, 1, 409, false]);
    assert.match(wrong.message, /^wrong_expected_version: stream "a" is at version 1, expected 5$/);
    assert.ok(wrong.fix && wrong.title);
    const known = await refused(c.append("b", event), "duplicate_event");
    assert.equal(known.eventId, event.id);

    const tx = {
      appends: [
        {
          stream: "b",
          events: [
            { type: "B", data: 1 },
            { type: "B", data: 2 },
          ],
        },
        { stream: "c", events: [{ type: "C", data: 1 }] },
      ],
    };
    const checked = await refused(c.transact(tx.appends, { checks: [{ stream: "a", expect: 7 }] }), "wrong_expected_version");
    assert.deepEqual([checked.element, checked.stream], [2, "a"]);
    assert.deepEqual(await c.transact(tx.appends, { checks: [{ stream: "a", expect: 1 }] }), {
      appends: [
        { version: 2, position: 3, count: 2 },
        { version: 1, position: 4, count: 1 },
      ],
      position: 4,
      duplicate: false,
      node: "n1",
    });

    assert.equal((await refused(c.read("nowhere"), "stream_not_found")).stream, "nowhere");
    await refused(take(c.follow("a", { filter: { types: [""] } }), 1), "invalid_filter");
    await refused(take(c.follow("a", { from: { cursor: "x" } }), 1), "invalid_cursor");
    await refused(take(c.follow("a", { from: { cursor: "otherlog.1" } }), 1), "log_changed");
    await refused(c.append("$a", event), "reserved_stream_name");
    await refused(c.append("a\ud800", event), "invalid_stream_name");
    await refused(c.append("a", []), "empty_append");
    await refused(c.append("a", { type: "", data: 1 }), "invalid_event_type");
    await refused(c.append("a", { type: "A", data: () => 1 }), "invalid_data");
    await refused(c.append("a", { type: "A", data: 1n }), "invalid_data");
    await refused(c.append("a", { type: "A", dataText: "{" }), "invalid_data");
    await refused(c.append("a", { ...event, id: "x" }), "invalid_event_id");
    await refused(c.append("a", { ...event, time: "yesterday" }), "invalid_event_time");
    await refused(c.append("a", { ...event, metadata: [] as never }), "invalid_metadata");
    await refused(c.append("a", event, { expect: -1 }), "invalid_expected_version");
    await refused(c.append("a", event, { expect: "none" as never }), "invalid_expected_version");
    await refused(c.append("a", event, { timeoutMs: 0 }), "invalid_request");
    await refused(c.read("a", { from: -1 }), "invalid_request");
    await refused(c.event("x"), "invalid_event_id");
    await refused(c.event(newId()), "event_not_found");
    assert.equal((await refused(c.append("a", { type: "A", data: "x".repeat(6 << 20) }), "frame_too_large")).limit, 5 << 20);
    await refused(c.append("a", { type: "A", data: "x".repeat(2 << 20) }), "event_too_large");
    assert.equal((await c.read("$all")).version, 4, "what was refused was not written");
  });
}

test("look-ups", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t);
  for (const stream of ["a/ü", "b"]) await c.append(stream, { type: "A", data: 1 });
  const { cursor, ...first } = await c.streams({ limit: 1 });
  const live = { version: 1, first: 1, count: 1, state: "live" };
  assert.deepEqual(first, { streams: [{ name: "a/ü", ...live }], end: false, looked: 1 });
  assert.deepEqual(await c.streams({ cursor }), { streams: [{ name: "b", ...live }], end: true, looked: 1 });
  assert.deepEqual(await c.streams({ prefix: "c" }), { streams: [], end: true });
  const changed = await c.streams({ sort: "changed", desc: true, match: "*", details: true, totals: true, system: false });
  assert.deepEqual(
    [changed.streams.map((s) => [s.name, s.created?.position, s.changed?.position]), changed.total],
    [
      [
        ["b", 2, 2],
        ["a/ü", 1, 1],
      ],
      { streams: 2 },
    ],
  );
  const info = await c.server();
  assert.equal(info.head, 2);
  assert.ok(info.features.includes("follow"));
});

test("connecting", async (t) => {
  const node = await Node.start(t, "memory");
  const host = node.url.slice("http://".length);
  for (const url of [node.url, `${node.url}/`, `ws://${host}`, host]) {
    const c = await connect(url, { WebSocket: WS });
    assert.equal(c.connected, true);
    await c.close();
    assert.equal(c.connected, false);
  }
  for (const url of ["", "ftp://x", "http://", "http://a?b", "http://u@a"])
    await refused(connect(url, { WebSocket: WS }), "invalid_config");
  await refused(connect("127.0.0.1:1", { WebSocket: WS }), "unavailable");
  await refused(connect(`${node.url}/nowhere`, { WebSocket: WS }), "not_found");
  await refused(connect(node.url, { WebSocket: WS, signal: AbortSignal.abort() }), "canceled");
});

test("signals and timeouts end what waits", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t);
  const events = { type: "A", data: 1 };
  await refused(c.append("a", events, { signal: AbortSignal.abort() }), "canceled");
  const f = c.follow("a", { signal: AbortSignal.timeout(50) });
  assert.equal((await refused(take(f, 1), "timeout")).retryable, true);
  const abort = new AbortController();
  const waiting = refused(take(c.follow("a", { signal: abort.signal }), 1), "canceled");
  abort.abort(new Error("enough"));
  assert.equal(((await waiting).cause as Error).message, "enough");

  await node.kill();
  const gone = c.follow("a", { timeoutMs: 50 });
  const why = /there is no connection/;
  assert.match((await refused(c.append("a", events, { timeoutMs: 50 }), "unknown_outcome")).message, why);
  assert.match((await refused(c.append("a", events, { signal: AbortSignal.timeout(50) }), "unknown_outcome")).message, why);
  assert.match((await refused(c.read("a", { timeoutMs: 50 }), "timeout")).message, why);
  assert.match((await refused(take(gone, 1), "timeout")).message, why);
  await refused(c.server(), "unavailable");

  const pending = refused(c.append("a", events), "unknown_outcome");
  const reading = refused(c.read("a"), "canceled");
  const following = refused(take(c.follow("a"), 1), "canceled");
  await c.close();
  await Promise.all([pending, reading, following]);
  await refused(c.read("a"), "canceled");
  await refused(take(c.follow("a"), 1), "canceled");
});

test("a follow that was closed ends its loop", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t);
  const f = c.follow("a");
  const loop = take(f, 1);
  await f.started();
  f.close();
  assert.deepEqual(await loop, []);
});

test("kill -9 and restarts, with the log on disk", async (t) => {
  const node = await Node.start(t, "disk");
  const states: ConnectionState[] = [];
  const appender = await node.client(t, { onState: (s) => states.push(s) });
  const [rounds, each] = [9, 60];
  const total = rounds * each;
  const readers = [await node.client(t, { json: true }), await node.client(t, { compress: true })];
  const seen = readers.map((c) => take(c.follow("$all"), total));
  for (let round = 0; round < rounds; round++) {
    const answers = Array.from({ length: each }, (_, i) => appender.append("s", { type: "A", data: round * each + i }));
    // Now some are answered, some are written, and some are on their way.
    await answers[round * 5];
    await (round % 3 === 2 ? node.stop() : node.kill());
    await node.start();
    await Promise.all(answers);
  }
  for (const events of await Promise.all(seen)) {
    events.forEach((e, i) => assert.deepEqual([e.position, e.version, e.data], [i + 1, i + 1, i]));
  }
  assert.equal((await appender.server()).head, total, "something was written twice, or not at all");
  assert.ok(states.filter((s) => s.connected).length > rounds / 2);
  assert.ok(states.some((s) => s.error?.code === "unavailable" && (s.retryInMs ?? 0) > 0));
});

test("a node that loses its log", async (t) => {
  const node = await Node.start(t, "memory");
  const event = { type: "A", data: 1 };
  const clients = [await node.client(t, { json: true }), await node.client(t)] as const;
  await clients[0].append("s", event);
  const follows = clients.map((c) => c.follow("s")[Symbol.asyncIterator]());
  for (const f of follows) assert.equal((await f.next()).value?.position, 1);
  await node.kill();
  await node.start();
  await Promise.all(follows.map((f) => refused(f.next(), "log_changed")));
  assert.deepEqual(await clients[0].append("s", event), { version: 1, position: 1, count: 1, duplicate: false, node: "n1" });
});
