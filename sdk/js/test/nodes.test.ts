// The client with the addresses of several nodes.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { WebSocket as WS } from "ws";
import { parseAddresses } from "../dist/address.js";
import { type ConnectionState, connect } from "../dist/index.js";
import { Nodes } from "../dist/nodes.js";
import { eventObject, Peer } from "./peer.js";

const event = { type: "A", data: 1 };
const WebSocket = WS;

const list = (text: string) => parseAddresses(text).map((a) => a.http);
const urls = (addresses: readonly { http: string }[]) => addresses.map((a) => a.http);

test("addresses are a list, or a text with commas", () => {
  assert.deepEqual(list("a:1, ws://b:2/x/,:3,a:1"), ["http://a:1", "http://b:2/x", "http://127.0.0.1:3"]);
  assert.deepEqual(urls(parseAddresses(["a:1", "wss://b:2"])), ["http://a:1", "https://b:2"]);
  for (const bad of ["", "a:1,", ["a:1", "ftp://b"]]) {
    assert.throws(() => parseAddresses(bad), { code: "invalid_config" });
  }
  assert.throws(() => new Nodes([]), { code: "invalid_config" });
});

test("after a break the next address is tried, after a goaway those that the node names", () => {
  const nodes = new Nodes(parseAddresses("a:1,b:1,c:1"));
  nodes.at = parseAddresses("b:1")[0] as Nodes["at"];
  assert.deepEqual(urls(nodes.next(false)), list("c:1,a:1,b:1"));
  nodes.learn(["d:1", "b:1", "ftp://x", ""]);
  assert.deepEqual(urls(nodes.next(false)), list("c:1,a:1,b:1,d:1"));
  assert.deepEqual(urls(nodes.next(true)), list("d:1,c:1,a:1,b:1"));
  assert.deepEqual(urls(nodes.now()), list("b:1,a:1,c:1,d:1"));
  nodes.learn(["a:1"]);
  nodes.learn(undefined);
  assert.deepEqual(urls(nodes.next(true)), list("a:1,c:1,b:1"));
  const secure = new Nodes(parseAddresses("wss://a:1/x"));
  secure.learn(["b:1", "http://plain:1", "wss://c:1"]);
  assert.deepEqual(urls(secure.next(true)).sort(), ["https://a:1/x", "https://b:1", "https://c:1"]);
  secure.learn(Array.from({ length: 1000 }, (_, i) => `n${i}:1`));
  assert.equal(secure.next(true).length, 65);
});

test("the first node that answers is taken, and the error names each", async (t) => {
  const peer = await Peer.start(t);
  const [client] = await Promise.all([connect(["127.0.0.1:1", peer.url], { WebSocket }), peer.greet()]);
  await client.close();
  await assert.rejects(connect(":1,127.0.0.1:2", { WebSocket }), {
    code: "unavailable",
    detail: "http://127.0.0.1:1 cannot be reached; http://127.0.0.1:2 cannot be reached",
  });
  const [last] = await Promise.all([connect([await silent(t), "127.0.0.1:1", peer.url], { WebSocket, timeoutMs: 1000 }), peer.greet()]);
  await last.close();
});

/** The URL of a server that never answers. */
async function silent(t: import("node:test").TestContext): Promise<string> {
  const server = createServer(() => {}).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("it goes to the next node when its own is gone", async (t) => {
  const [a, b] = [await Peer.start(t), await Peer.start(t)];
  const states: ConnectionState[] = [];
  const connecting = connect(`${a.url},${b.url}`, { WebSocket, onState: (s) => states.push(s) });
  const first = await a.greet();
  const client = await connecting;
  t.after(() => client.close());
  const written = client.append("s", event);
  const sent = await first.frames();
  first.socket.terminate();
  const second = await b.greet();
  assert.deepEqual(await second.frames(), sent);
  second.say({ op: "ok", id: sent[2], version: 1, position: 1, count: 1 });
  await written;
  assert.deepEqual(
    states.map((s) => s.address),
    [a.url, undefined, b.url],
  );
});

test("it leaves a node that shuts down once it has its answers, for one that is named", async (t) => {
  const [a, b] = [await Peer.start(t), await Peer.start(t)];
  const connecting = connect(a.url, { WebSocket });
  const first = await a.greet();
  const client = await connecting;
  t.after(() => client.close());
  const owed = client.append("s", event);
  const one = await first.frames();
  first.say({ op: "goaway", reason: "shutdown", reconnectInMs: 1, nodes: [b.url.slice("http://".length)] });
  const refused = client.append("s", event);
  const two = await first.frames(); // it stays: an answer is owed
  first.say({ op: "error", id: two[2], error: { code: "shutting_down", retryable: true } });
  const left = once(first.socket, "close");
  first.say({ op: "ok", id: one[2], version: 1, position: 1, count: 1 });
  await owed;
  await left; // without being asked again
  const second = await b.greet();
  assert.deepEqual(await second.frames(), two);
  second.say({ op: "ok", id: two[2], version: 2, position: 2, count: 1 });
  assert.equal((await refused).version, 2);
});

test("a consumer begins nothing at a node that shuts down", async (t) => {
  const peer = await Peer.start(t);
  const connecting = connect(peer.url, { WebSocket, json: true });
  const first = await peer.greet();
  const client = await connecting;
  t.after(() => client.close());
  const subscriber = client.subscribe("billing");
  const { id, sub } = await first.message("subscribe");
  first.say({ op: "ok", id, sub, head: 3, incarnation: "i1" });
  const events = (...positions: number[]) => positions.map((p) => ({ ...eventObject(p), attempt: 1 }));
  first.say({ op: "events", sub, events: events(1, 2), cursor: "k3f9.0" });
  first.say({ op: "events", sub, events: events(3), cursor: "k3f9.0" });
  const deliveries = subscriber[Symbol.asyncIterator]();
  const { value: one } = await deliveries.next();
  assert.equal(one?.position, 1);
  first.say({ op: "goaway", reason: "shutdown", reconnectInMs: 1 });
  first.say({ op: "ping", n: 1 });
  await first.message("pong"); // it has taken the goaway in
  const next = deliveries.next();
  const left = once(first.socket, "close");
  const acked = one?.ack();
  const ack = await first.message("ack");
  assert.deepEqual(ack["positions"], [1]);
  first.say({ op: "ok", id: ack.id });
  await acked;
  await left;
  const second = await peer.greet();
  const again = await second.message("subscribe");
  second.say({ op: "ok", id: again.id, sub: again.sub, head: 3, incarnation: "i1" });
  second.say({ op: "events", sub: again.sub, events: events(2, 3), cursor: "k3f9.1" });
  assert.equal((await next).value?.position, 2);
});

for (const [name, error, final] of [
  ["behind the stream", { code: "wrong_expected_version", expected: 3, actual: 4 }, true],
  ["ahead of the stream", { code: "wrong_expected_version", expected: 3, actual: 2 }, false],
  ["no stream", { code: "wrong_expected_version", expected: "no_stream", actual: 1 }, true],
  ["stream exists", { code: "wrong_expected_version", expected: "stream_exists", actual: 0 }, false],
  ["duplicate event", { code: "duplicate_event" }, true],
  ["no quorum", { code: "no_node_available", retryable: true }, false],
] as const) {
  test(`an append that was sent again is refused: ${name}`, async (t) => {
    const peer = await Peer.start(t);
    const connecting = connect(peer.url, { WebSocket });
    const first = await peer.greet();
    const client = await connecting;
    t.after(() => client.close());
    const again = client.append("s", event);
    await first.frames();
    first.socket.terminate();
    const second = await peer.greet();
    second.say({ op: "error", id: (await second.frames())[2], error });
    // The first try may still be written, unless the refusal holds for it, too.
    await assert.rejects(again, { code: final ? error.code : "unknown_outcome" });
    const once = client.append("s", event);
    second.say({ op: "error", id: (await second.frames())[2], error });
    await assert.rejects(once, { code: error.code });
    const untaken = client.append("s", event);
    second.say({ op: "error", id: (await second.frames())[2], error: { code: "shutting_down", retryable: true } });
    const third = await peer.greet();
    third.say({ op: "error", id: (await third.frames())[2], error });
    await assert.rejects(untaken, { code: error.code });
  });
}

test("requests over HTTP ask the next node", async (t) => {
  const problem = { code: "no_node_available", detail: "none", retryable: true };
  let status = 503;
  const a = await Peer.start(t, (_, r) => r.writeHead(status).end(JSON.stringify({ ...problem, retryable: status === 503 })));
  const b = await Peer.start(t, (_, r) => r.end(JSON.stringify({ node: "b" })));
  const [client] = await Promise.all([connect([a.url, b.url], { WebSocket }), a.greet()]);
  t.after(() => client.close());
  assert.equal((await client.server()).node, "b");
  status = 404;
  await assert.rejects(client.server(), { code: "no_node_available" });
});
