// How a client gives its key, at a server that says what it got.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { WebSocket as WS } from "ws";
import { connect, GyreError } from "../dist/index.js";
import { gyre, Node } from "./node.js";
import { Peer } from "./peer.js";

const refusal = { code: "unauthenticated", detail: "no such key", retryable: false };

test("the token is in hello and in the Authorization header", async (t) => {
  const asked: (string | undefined)[] = [];
  const peer = await Peer.start(t, (request, response) => {
    asked.push(`${request.url} ${request.headers.authorization}`);
    response.setHeader("Content-Type", "application/json").end("{}");
  });
  const [client, c] = await Promise.all([connect(peer.url, { WebSocket: WS, token: "k1" }), peer.greet()]);
  t.after(() => client.close());
  assert.deepEqual(c.hello["auth"], { token: "k1" });
  await client.server();
  assert.deepEqual(asked, ["/v1/server Bearer k1"]);

  const refused = client.refresh("k2");
  const first = await c.message("refresh");
  assert.equal(first["token"], "k2");
  c.say({ op: "error", id: first.id, error: refusal });
  await assert.rejects(refused, { code: "unauthenticated" });
  await client.server();
  assert.equal(asked[1], "/v1/server Bearer k1");

  const refreshed = client.refresh("k3");
  c.say({ op: "ok", id: (await c.message("refresh")).id });
  await refreshed;
  await client.server();
  assert.equal(asked[2], "/v1/server Bearer k3");
});

test("a function returns the token for each connection", async (t) => {
  const peer = await Peer.start(t);
  let calls = 0;
  const token = async () => {
    if (++calls === 2) throw new Error("try again"); // as where the network is gone
    return `k${calls}`;
  };
  const [client, first] = await Promise.all([connect(peer.url, { WebSocket: WS, token }), peer.greet()]);
  t.after(() => client.close());
  assert.deepEqual(first.hello["auth"], { token: "k1" });
  const append = client.append("s", { type: "A", data: 1 });
  await first.frames();
  first.socket.close(4003, "4003 unauthenticated");
  const second = await peer.greet();
  assert.deepEqual(second.hello["auth"], { token: "k3" });
  await second.frames(); // the append again
  // A node that refuses the key is not asked again.
  second.socket.close(4003, "4003 unauthenticated");
  const third = await peer.accept();
  await third.message("hello");
  third.say({ op: "error", error: refusal });
  third.socket.close(4500, "4500 unauthenticated");
  await assert.rejects(append, (e) => GyreError.is(e, "unknown_outcome") && GyreError.is(e.cause, "unauthenticated"));
  await assert.rejects(client.append("s", { type: "A", data: 1 }), { code: "unauthenticated" });
});

test("a token that cannot be one is in no error, and a function that does not answer has a limit", async (t) => {
  const peer = await Peer.start(t);
  for (const token of ["planted planted", "planted\n", () => "planted\u00e9"]) {
    await assert.rejects(
      connect(peer.url, { WebSocket: WS, token }),
      (e) => GyreError.is(e, "invalid_config") && !JSON.stringify(e).includes("planted"),
    );
  }
  await assert.rejects(connect(peer.url, { WebSocket: WS, token: () => new Promise<string>(() => {}), timeoutMs: 50 }), (e) =>
    GyreError.is(e, "unavailable", "timeout"),
  );
});

test("a node with keys takes one, and ends its client with it", async (t) => {
  const node = await Node.start(t, "memory");
  const home = mkdtempSync(join(tmpdir(), "gyre-js-"));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  const run = (...args: string[]) =>
    execFileSync(gyre, [...args, "-o", "json", "--server", node.url], { env: { ...process.env, XDG_CONFIG_HOME: home }, encoding: "utf8" });
  run("auth", "init");
  const file = join(home, "reader");
  const { id } = JSON.parse(run("auth", "key", "create", "--role", "writer", "--streams", "s-*", "--out", file));
  const token = readFileSync(file, "utf8").trim();

  await assert.rejects(connect(node.url, { WebSocket: WS }), { code: "unauthenticated" });
  await assert.rejects(connect(node.url, { WebSocket: WS, token: `${token}x` }), (e) => {
    return GyreError.is(e, "unauthenticated") && !JSON.stringify(e).includes(token);
  });
  const client = await node.client(t, { token: () => token });
  await client.append("s-1", { type: "A", data: 1 });
  assert.equal((await client.streams()).streams.length, 1);
  await client.refresh(token);
  await assert.rejects(client.append("other", { type: "A", data: 1 }), { code: "forbidden" });
  const follow = client.follow("s-1");
  run("auth", "key", "revoke", id);
  await assert.rejects(
    async () => {
      for await (const _ of follow);
    },
    { code: "unauthenticated" },
  );
});
