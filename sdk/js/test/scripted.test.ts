// The client against a server that says what no well-behaved node does at will: it goes
// away in the middle, falls silent, or has named subscriptions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { WebSocket as WS } from "ws";
import { ackFrame } from "../dist/frames.js";
import {
  type Client,
  type ConnectionState,
  type ConnectOptions,
  connect,
  type Delivery,
  GyreError,
  type ReadOptions,
} from "../dist/index.js";
import { eventBytes, eventObject, Peer, type PeerConnection } from "./peer.js";

/** A client and its connection at the peer's end. */
async function pair(
  t: import("node:test").TestContext,
  o: ConnectOptions = {},
  welcome: object = {},
): Promise<[Client, PeerConnection, Peer]> {
  const peer = await Peer.start(t);
  const [client, connection] = await Promise.all([connect(peer.url, { WebSocket: WS, ...o }), peer.greet(welcome)]);
  t.after(() => client.close());
  return [client, connection, peer];
}

const event = { type: "A", data: 1 };

/** An EVENTS frame of deliveries: [position, attempt]. */
function deliveries(sub: number, list: [number, number][]): Uint8Array {
  return Buffer.concat([Buffer.from([1, 4, sub, list.length, ...list.map((d) => d[1])]), ...list.map((d) => eventBytes(d[0], "1"))]);
}

test("hello says who calls, and what it can", async (t) => {
  const peer = await Peer.start(t);
  const connecting = connect(peer.url, { WebSocket: WS, name: "test", compress: true });
  const c = await peer.accept();
  const hello = await c.message("hello");
  assert.deepEqual(hello["client"], { name: "test", version: "0.0.0" });
  assert.deepEqual(hello["accept"], { batch: true, compress: ["deflate-raw"], owner: true });
  c.say({ op: "error", id: hello.id, error: { code: "unknown_op", detail: "no", retryable: false } });
  await assert.rejects(connecting, { code: "unknown_op", detail: "no" });
});

test("a server that says nothing is given up with the signal", async (t) => {
  const peer = await Peer.start(t);
  const abort = new AbortController();
  const connecting = connect(peer.url, { WebSocket: WS, signal: abort.signal });
  await (await peer.accept()).message("hello");
  abort.abort();
  await assert.rejects(connecting, { code: "canceled" });
});

test("what was not answered is sent again, in order, with the same ids", async (t) => {
  const [client, first, peer] = await pair(t);
  const one = client.append("s", event);
  const two = client.append("s", event);
  const page = client.read("s");
  const sent = await first.frames();
  assert.equal((await first.message("read"))["stream"], "s");
  first.say(Buffer.from([3, 0, 1, sent[2] as number, 1, 1, 1])); // one is answered
  assert.deepEqual(await one, { version: 1, position: 1, count: 1, duplicate: false, node: "n1" });
  first.socket.terminate();
  const second = await peer.greet();
  const again = await second.frames();
  assert.deepEqual(again, sent.slice(sent.length / 2), "the second of the two");
  const read = await second.message("read");
  second.say({ op: "ok", id: again[2], version: 2, position: 2, count: 1, duplicate: true, node: "n1" });
  assert.deepEqual(await two, { version: 2, position: 2, count: 1, duplicate: true, node: "n1" });
  second.say({ op: "ok", id: read.id, end: true, next: 1, version: 0, head: 0 });
  assert.deepEqual((await page).events, []);
});

test("an older server is not asked for what it would pass over", async (t) => {
  const [client] = await pair(t);
  const asked: ReadOptions[] = [
    { category: "order" },
    { filter: { types: ["A"] } },
    { since: new Date() },
    { until: "2026-11-23T10:00:00Z" },
    { correlation: "c" },
    { fromTime: new Date() },
    { snapshot: "default" },
  ];
  for (const o of asked) await assert.rejects(client.read("$all", o), { code: "not_supported" }, JSON.stringify(o));
  await assert.rejects(client.append("s", event, { progress: { name: "p", from: 0, to: 1 } }), { code: "not_supported" });
});

test("a request is not sent again to an older server", async (t) => {
  const [client, first, peer] = await pair(t, {}, { features: ["progress", "selections"] });
  const read = client.read("$all", { category: "order" });
  const append = client.append("s", event, { progress: { name: "p", from: 0, to: 1 } });
  await first.message("read");
  first.socket.terminate();
  const older = await peer.greet();
  await assert.rejects(read, { code: "not_supported" });
  await assert.rejects(append, { code: "unknown_outcome" });
  client.read("s").catch(() => undefined);
  assert.equal((await older.message("read"))["stream"], "s"); // and nothing came before it
});

test("a transaction that was not answered is sent again, in binary, and answered so", async (t) => {
  const [client, first, peer] = await pair(t);
  const appends = [
    { stream: "a", events: [event, event] },
    { stream: "b", events: [event] },
  ];
  const written = client.transact(appends, { checks: [{ stream: "c", expect: 0 }] });
  const sent = await first.frames();
  assert.equal(sent[0], 6);
  first.socket.terminate();
  const second = await peer.greet();
  assert.deepEqual(await second.frames(), sent);
  const id = sent[2] as number;
  second.say(Buffer.from([7, 8, id, 2, 2, 2, 2, 1, 7, 3]));
  assert.deepEqual(await written, {
    appends: [
      { version: 2, position: 2, count: 2 },
      { version: 7, position: 3, count: 1 },
    ],
    position: 3,
    duplicate: true,
    node: "n1",
  });
  const odd = client.transact(appends);
  second.say(Buffer.from([7, 0, (await second.frames())[2] as number, 1, 1, 1, 1]));
  await assert.rejects(odd, { code: "protocol_error" });
});

test("an append that is given up is canceled, and its outcome not known", async (t) => {
  const [client, c] = await pair(t, { json: true });
  const abort = new AbortController();
  const lost = client.append("s", event, { signal: abort.signal });
  const { id } = await c.message("append");
  abort.abort();
  await assert.rejects(lost, { code: "unknown_outcome", retryable: true });
  assert.equal((await c.message("cancel")).id, id);
  await assert.rejects(client.append("s", event, { timeoutMs: 20 }), { code: "unknown_outcome" });
  assert.equal((await c.message("append"))["timeoutMs"], 20);
});

test("an overloaded node is asked again, when it says, with the same ids and in order", async (t) => {
  const [client, c] = await pair(t, { json: true });
  const busy = (id: number, retryAfterMs: number) =>
    c.say({ op: "error", id, error: { code: "overloaded", retryable: true, retryAfterMs } });
  const page = client.read("s");
  const { id: reading } = await c.message("read");
  busy(reading, 1);
  assert.equal((await c.message("read")).id, reading);
  c.say({ op: "ok", id: reading, end: true });
  assert.equal((await page).end, true);

  const first = client.append("s", event);
  const one = await c.message("append");
  busy(one.id, 30);
  const after = client.read("s"); // its answer comes after the refusal
  c.say({ op: "ok", id: (await c.message("read")).id, end: true });
  await after;
  const second = client.append("s", event); // waits behind the first
  assert.deepEqual(await c.message("append"), one);
  const two = await c.message("append");
  assert.notEqual(two.id, one.id);
  c.say({ op: "ok", id: one.id, version: 1, position: 1, count: 1 });
  c.say({ op: "ok", id: two.id, version: 2, position: 2, count: 1 });
  assert.deepEqual([(await first).version, (await second).version], [1, 2]);
});

test("a refusal is told where a later append may be taken first, or no time is left", async (t) => {
  const [client, c] = await pair(t, { json: true });
  const first = client.append("s", event);
  const second = client.append("s", event, { timeoutMs: 40_000 });
  const [one, two] = [await c.message("append"), await c.message("append")];
  c.say({ op: "error", id: one.id, error: { code: "overloaded", retryable: true, retryAfterMs: 1 } });
  await assert.rejects(first, { code: "overloaded", retryable: true, retryAfterMs: 1 });
  c.say({ op: "error", id: two.id, error: { code: "overloaded", retryable: true, retryAfterMs: 60_000 } });
  await assert.rejects(second, { code: "overloaded" });
});

test("a node that shuts down says when to come back", async (t) => {
  const [client, first, peer] = await pair(t);
  const page = client.read("s");
  const { id } = await first.message("read");
  first.say({ op: "goaway", reason: "shutdown", reconnectInMs: 30 });
  first.say({ op: "error", id, error: { code: "shutting_down", retryable: true } });
  const left = Date.now();
  first.socket.close(4000, "4000 shutdown");
  const second = await peer.greet();
  assert.ok(Date.now() - left >= 29);
  second.say({ op: "ok", id: (await second.message("read")).id, end: true });
  assert.equal((await page).end, true);
});

for (const [code, reason, want] of [
  [4502, "4502 protocol_error", "protocol_error"],
  [4504, "4504 hello_timeout", "hello_timeout"],
  [4501, "4501 forbidden", "protocol_error"],
  [1009, "", "protocol_error"],
] as const) {
  test(`closed with ${code} it does not come back`, async (t) => {
    const [client, c] = await pair(t);
    const lost = client.append("s", event);
    const read = client.read("s");
    const next = client.follow("s")[Symbol.asyncIterator]().next();
    await c.frames();
    c.socket.close(code, reason);
    await assert.rejects(lost, { code: "unknown_outcome" });
    await assert.rejects(read, { code: want });
    await assert.rejects(next, { code: want });
    await assert.rejects(client.read("s"), { code: want });
    await client.close();
  });
}

test("a peer that breaks the protocol is left", async (t) => {
  for (const nonsense of [Buffer.from([9, 9]), Buffer.from("{")]) {
    const [client, c] = await pair(t);
    const read = client.read("s");
    await c.message("read");
    c.socket.send(nonsense, { binary: nonsense.length === 2 });
    await assert.rejects(read, { code: "protocol_error" });
  }
});

test("silence ends a connection, pings keep it", async (t) => {
  let back: (() => void) | undefined;
  let connections = 0;
  const again = new Promise<void>((resolve) => {
    back = resolve;
  });
  const onState = (s: ConnectionState) => {
    if (s.connected && ++connections === 2) back?.();
  };
  const [client, first, peer] = await pair(t, { onState }, { ping: { intervalMs: 40, timeoutMs: 40 } });
  first.say({ op: "ping", n: 3 });
  assert.equal((await first.message("pong"))["n"], 3);
  // It pings, and as nothing comes back it makes another connection.
  assert.equal((await first.message("ping"))["n"], 1);
  await peer.greet();
  await again;
  assert.equal(client.connected, true);
});

test("a follow goes on after a break, and gives credit for what was taken", async (t) => {
  const [client, first, peer] = await pair(t);
  const follow = client.follow("s", { filter: { types: ["A"] }, credit: { events: 4, bytes: 1000 } });
  const events = follow[Symbol.asyncIterator]();
  const s1 = await first.message("subscribe");
  assert.deepEqual(s1["credit"], { events: 4, bytes: 1000 });
  assert.equal(s1["from"], "start");
  first.say({ op: "ok", id: s1.id, sub: s1.sub, cursor: "k3f9.0", head: 9, live: false });
  await follow.started();
  first.say(Buffer.concat([Buffer.from([1, 0, s1.sub, 2]), eventBytes(1, "1"), eventBytes(3, "3")]));
  assert.equal((await events.next()).value?.position, 1);
  assert.equal(follow.cursor, "k3f9.1");
  const credit = await first.frames();
  assert.deepEqual([...credit], [5, 0, s1.sub, 2, 2 * eventBytes(1, "1").length]);
  first.say({ op: "status", sub: s1.sub, state: "live", cursor: "k3f9.9", head: 9 });
  first.say(Buffer.concat([Buffer.from([1, 0, s1.sub, 1]), eventBytes(10, "1")]));
  first.say({ op: "status", sub: s1.sub, state: "checkpoint", cursor: "k3f9.20", head: 20 });
  first.socket.close(1001);
  const second = await peer.greet();
  const s2 = await second.message("subscribe");
  // What is in the queue still takes its credit.
  assert.deepEqual(
    [s2.sub, s2["from"], s2["credit"]],
    [s1.sub, { cursor: "k3f9.20" }, { events: 3, bytes: 1000 - eventBytes(10, "1").length }],
  );
  second.say({ op: "ok", id: s2.id, sub: s2.sub, cursor: "k3f9.20", head: 21, live: false });
  second.say(Buffer.concat([Buffer.from([1, 0, s1.sub, 1]), eventBytes(21, "1")]));
  for (const position of [3, 10, 21]) assert.equal((await events.next()).value?.position, position);
  // An end that can be mended is, one that cannot is reported.
  second.say({ op: "end", sub: s2.sub, error: { code: "overloaded", retryable: true }, retryable: true });
  const s3 = await second.message("subscribe").catch(() => second.message("subscribe"));
  assert.deepEqual(s3["from"], { cursor: "k3f9.21" });
  second.say({ op: "error", id: s3.id, error: { code: "log_changed", detail: "another", retryable: false } });
  await assert.rejects(events.next(), { code: "log_changed", detail: "another" });
});

test("a follow says why nothing is delivered for now", async (t) => {
  const [client, c] = await pair(t);
  const batches = client.follow("s").batches();
  const first = batches.next();
  const s = await c.message("subscribe");
  c.say({ op: "ok", id: s.id, sub: s.sub, cursor: "k3f9.9", head: 9 });
  c.say({ op: "status", sub: s.sub, state: "no_quorum", reason: "1 of 3 members is alive", cursor: "k3f9.9", head: 9 });
  assert.deepEqual((await first).value, { events: [], cursor: "k3f9.9", head: 9, live: false, noQuorum: "1 of 3 members is alive" });
  const second = batches.next();
  c.say({ op: "status", sub: s.sub, state: "live", cursor: "k3f9.9", head: 9 });
  assert.deepEqual((await second).value, { events: [], cursor: "k3f9.9", head: 9, live: true });
  await batches.return();
});

test("leaving a loop unsubscribes", async (t) => {
  const [client, c] = await pair(t);
  const follow = client.follow("s");
  const s = await c.message("subscribe");
  c.say({ op: "ok", id: s.id, sub: s.sub, cursor: "k3f9.0", head: 1 });
  c.say(Buffer.concat([Buffer.from([1, 0, s.sub, 1]), eventBytes(1, "1")]));
  for await (const e of follow) {
    assert.equal(e.position, 1);
    break;
  }
  assert.equal((await c.message("unsubscribe")).sub, s.sub);
});

test("compressed frames keep their place among the others", async (t) => {
  const [client, c] = await pair(t, { compress: true }, { compress: "deflate-raw" });
  const follow = client.follow("s");
  const s = await c.message("subscribe");
  c.say({ op: "ok", id: s.id, sub: s.sub, cursor: "k3f9.0", head: 1 });
  const frame = (position: number, compressed: boolean) => {
    const raw = eventBytes(position, JSON.stringify("x".repeat(60)));
    if (!compressed) return Buffer.concat([Buffer.from([1, 0, s.sub, 1]), raw]);
    const coded = deflateRawSync(raw);
    return Buffer.concat([Buffer.from([1, 1, s.sub, 1, raw.length, coded.length]), coded]);
  };
  for (let p = 1; p < 40; p += 4) {
    c.say(Buffer.concat([frame(p, true), frame(p + 1, false)]));
    c.say(frame(p + 2, false));
    c.say(frame(p + 3, true));
    c.say({ op: "status", sub: s.sub, state: "checkpoint", cursor: `k3f9.${p + 3}`, head: 40 });
  }
  let last = 0;
  for await (const e of follow) {
    assert.equal(e.position, ++last);
    if (last === 40) break;
  }
  const damaged = client.follow("s");
  await c.message("unsubscribe");
  const s2 = await c.message("subscribe");
  c.say({ op: "ok", id: s2.id, sub: s2.sub, cursor: "k3f9.0", head: 1 });
  c.say(Buffer.from([1, 1, s2.sub, 1, 50, 4, 0xff, 0xff, 0xff, 0xff]));
  await assert.rejects(damaged[Symbol.asyncIterator]().next(), { code: "protocol_error" });
});

for (const json of [false, true]) {
  const mode = json ? "json" : "bin";

  /** A subscriber that was let in, and a way to deliver to it. */
  const joined = async (t: import("node:test").TestContext, o = {}) => {
    const [client, connection, peer] = await pair(t, { json });
    const subscriber = client.subscribe("billing", { consumer: "w1", ...o });
    const admit = async (c: PeerConnection) => {
      const s = await c.message("subscribe");
      c.say({ op: "ok", id: s.id, sub: s.sub, head: 100, incarnation: "i1" });
      await subscriber.started();
      return s;
    };
    const deliver = (c: PeerConnection, sub: number, ...list: [number, number][]) => {
      if (!json) c.say(deliveries(sub, list));
      else
        c.say({
          op: "events",
          sub,
          events: list.map(([p, attempt]) => ({ ...eventObject(p), attempt })),
          cursor: `k3f9.${list.at(-1)?.[0]}`,
        });
    };
    /** The next ack, as [id, what it says]. */
    const receiveAck = async (c: PeerConnection, sub: number, target: { positions: number[] } | { upTo: number }): Promise<number> => {
      if (json) {
        const { op: _, id, ...m } = await c.message("ack");
        assert.deepEqual(m, { sub, ...target });
        return id;
      }
      const frame = await c.frames();
      const id = frame[2] as number;
      const want = ackFrame(id, sub, target, false);
      assert.deepEqual(frame.subarray(0, want.length), want);
      c.leave(frame.subarray(want.length));
      return id;
    };
    return { client, connection, peer, subscriber, admit, deliver, receiveAck };
  };

  const next = async (it: AsyncIterator<Delivery>) => (await it.next()).value as Delivery;

  test(`deliveries, acks and nacks: ${mode}`, async (t) => {
    const options = { stream: "$all", partitionBy: "stream", retry: { max: 3 } };
    const { connection: c, subscriber, admit, deliver, receiveAck } = await joined(t, { options });
    const { sub, ...s } = await admit(c);
    assert.deepEqual([s["subscription"], s["consumer"], s["ack"], s["options"]], ["billing", "w1", "explicit", options]);
    assert.equal(s["stream"], undefined);
    deliver(c, sub, [1, 1], [2, 3], [3, 1], [4, 1], [5, 1], [6, 1]);
    const it = subscriber[Symbol.asyncIterator]();
    const [d1, d2, d3, d4, d5, d6] = [
      await next(it),
      await next(it),
      await next(it),
      await next(it),
      await next(it),
      await next(it),
    ] as const;
    assert.deepEqual([d1.position, d1.attempt, d2.position, d2.attempt], [1, 1, 2, 3]);
    assert.equal(JSON.parse(JSON.stringify(d2)).attempt, 3);

    // Acks of one turn are sent as one; each is answered for itself.
    const acks = [d1.ack(), d2.ack()];
    const id = await receiveAck(c, sub, { positions: [1, 2] });
    c.say({ op: "error", id, error: { code: "unexpected_ack", detail: "not in flight: [2]", retryable: false, positions: [2] } });
    await acks[0];
    await assert.rejects(acks[1] as Promise<void>, { code: "unexpected_ack", positions: [2] });

    const [late, upTo] = [d3.ack(), d4.ackUpTo()];
    c.say({ op: "ok", id: await receiveAck(c, sub, { positions: [3] }) });
    c.say({ op: "ok", id: await receiveAck(c, sub, { upTo: 4 }) });
    await Promise.all([late, upTo]);

    const extended = d5.extend(60_000);
    const extend = await c.message("extend");
    assert.deepEqual([extend.sub, extend["positions"], extend["ms"]], [sub, [5], 60_000]);
    c.say({ op: "ok", id: extend.id });
    await extended;

    const retried = d5.nack("retry", { delayMs: 5000, reason: "db down" });
    const nack = await c.message("nack");
    assert.deepEqual([nack.sub, nack["positions"], nack["action"], nack["delayMs"], nack["reason"]], [sub, [5], "retry", 5000, "db down"]);
    c.say({ op: "ok", id: nack.id });
    await retried;
    const parked = d6.nack("park");
    const park = await c.message("nack");
    assert.deepEqual([park["action"], "delayMs" in park, "reason" in park], ["park", false, false]);
    c.say({ op: "error", id: park.id, error: { code: "unexpected_ack", retryable: false } });
    await assert.rejects(parked, { code: "unexpected_ack" });

    const rest = it.next();
    subscriber.close();
    assert.equal((await rest).done, true);
    assert.equal((await c.message("unsubscribe")).sub, sub);
    await assert.rejects(d1.ack(), { code: "lease_lost" });
  });

  test(`a break ends the lease, and it joins again: ${mode}`, async (t) => {
    const { connection: first, peer, subscriber, admit, deliver, receiveAck } = await joined(t);
    const { sub } = await admit(first);
    deliver(first, sub, [1, 1], [2, 1]);
    deliver(first, sub, [3, 1]);
    const it = subscriber[Symbol.asyncIterator]();
    const d1 = await next(it);
    const unanswered = d1.ack();
    await receiveAck(first, sub, { positions: [1] });
    first.socket.terminate();
    const second = await peer.greet();
    const again = await second.message("subscribe");
    assert.equal(again["subscription"], "billing");
    assert.deepEqual([again["incarnation"], again["options"], again["anyOptions"]], ["i1", undefined, undefined], "it creates nothing");
    assert.deepEqual(again["credit"], { events: 4096, bytes: 2 << 20 }, "what was not taken is forgotten");
    await assert.rejects(unanswered, { code: "lease_lost" });
    await assert.rejects(d1.nack("retry"), { code: "lease_lost" });
    // Its place may be taken for a while by itself: it tries again.
    second.say({ op: "error", id: again.id, error: { code: "subscription_in_use", retryable: true } });
    await admit(second);
    deliver(second, sub, [1, 2], [2, 2]);
    // 2 and 3 of the first connection were not taken, and come again as the server says.
    const d = [await next(it), await next(it)] as const;
    assert.deepEqual(
      d.map((x) => [x.position, x.attempt]),
      [
        [1, 2],
        [2, 2],
      ],
    );
    const acked = d[1].ack();
    second.say({ op: "ok", id: await receiveAck(second, sub, { positions: [2] }) });
    await acked;
    second.say({ op: "end", sub, error: { code: "internal", detail: "stopped", retryable: false }, retryable: false });
    await assert.rejects(it.next(), { code: "internal", detail: "stopped" });
  });

  test(`a subscription that was deleted meanwhile is not created again: ${mode}`, async (t) => {
    for (const o of [{}, { options: { stream: "s" } }, { options: { stream: "s" }, anyOptions: true }]) {
      const { connection: first, peer, subscriber, admit } = await joined(t, o);
      const s = await admit(first);
      assert.deepEqual([s["options"], s["anyOptions"]], "options" in o ? [o.options, o.anyOptions] : [{}, true]);
      first.socket.terminate();
      const second = await peer.greet();
      const again = await second.message("subscribe");
      assert.deepEqual([again["incarnation"], again["options"]], ["i1", undefined]);
      second.say({ op: "error", id: again.id, error: { code: "subscription_not_found", retryable: false } });
      await assert.rejects(subscriber[Symbol.asyncIterator]().next(), { code: "subscription_not_found" });
    }
  });

  test(`who may not join gets the reason: ${mode}`, async (t) => {
    const { connection: c, subscriber } = await joined(t);
    const s = await c.message("subscribe");
    c.say({ op: "error", id: s.id, error: { code: "subscription_options_differ", detail: "bufferSize", retryable: false } });
    await assert.rejects(subscriber.started(), { code: "subscription_options_differ" });
    await assert.rejects(subscriber[Symbol.asyncIterator]().next(), (e) => GyreError.is(e, "subscription_options_differ"));
  });
}

test("an ack that nobody looks at ends no process", async (t) => {
  const [client, c] = await pair(t);
  const subscriber = client.subscribe("billing");
  const s = await c.message("subscribe");
  c.say({ op: "ok", id: s.id, sub: s.sub });
  c.say(deliveries(s.sub, [[1, 1]]));
  for await (const d of subscriber) {
    void d.ack();
    void d.nack("skip");
    break;
  }
  await c.frames();
  c.socket.terminate();
  await client.close();
});
