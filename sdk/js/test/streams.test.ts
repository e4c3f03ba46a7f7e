// Changes of whole streams, against a real node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { admin } from "../dist/admin.js";
import { GyreError } from "../dist/index.js";
import { Node } from "./node.js";

test("streams are deleted, undeleted, removed and tombstoned", async (t) => {
  const node = await Node.start(t, "memory", "--hard-deletes");
  const c = await node.client(t, {});
  const { streams } = admin(c);
  const event = { type: "A", data: 1 };
  await c.append("a/b", [event, event]);
  await assert.rejects(streams.delete("a/b", { expect: 1 }), (e) => GyreError.is(e, "wrong_expected_version") && e.actual === 2);
  const { created, changed, ...info } = await streams.info("a/b");
  assert.deepEqual(info, { name: "a/b", version: 2, first: 1, count: 2, state: "live" });
  assert.deepEqual([created?.position, changed?.position, (await streams.info("$all")).version], [1, 2, 2]);
  await streams.delete("a/b", { expect: 2 });
  await assert.rejects(streams.info("a/b"), { code: "stream_deleted" });
  await assert.rejects(c.read("a/b"), { code: "stream_deleted" });
  await assert.rejects(c.append("a/b", event), { code: "stream_deleted" });
  await streams.undelete("a/b");
  await assert.rejects(streams.undelete("a/b"), { code: "stream_not_deleted" });
  assert.equal((await c.read("a/b")).events.length, 2);
  await streams.delete("a/b", { expect: "stream_exists", hard: true });
  await assert.rejects(c.read("a/b"), { code: "stream_not_found" });
  assert.equal((await c.append("a/b", event, { expect: "no_stream" })).version, 1);
  await streams.delete("a/b", { tombstone: true });
  await assert.rejects(c.append("a/b", event), { code: "stream_tombstoned" });
});

test("a node removes no events unless it is told to", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  await c.append("a", { type: "A", data: 1 });
  await assert.rejects(admin(c).streams.delete("a", { hard: true }), { code: "hard_deletes_off" });
  assert.equal((await c.read("a")).events.length, 1);
});

test("policies of retention are set, shown, listed and cleared", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const { streams } = admin(c);
  const event = { type: "A", data: 1 };
  await c.append("a-1", [event, event, event]);
  const of = { stream: "a-1" };
  assert.deepEqual(await streams.retention(of), { stream: "a-1", revision: 0 });
  assert.deepEqual(await streams.setRetention(of, { truncateBefore: 2, maxCount: 1 }, { expect: 0 }), {
    stream: "a-1",
    maxCount: 1,
    truncateBefore: 2,
    revision: 1,
  });
  const versions = async () => (await c.read("a-1")).events.map((e) => e.version);
  assert.deepEqual(await versions(), [3]);
  assert.deepEqual((await streams.info("a-1")).retention, { maxCount: 1, truncateBefore: 2 });
  await assert.rejects(streams.setRetention(of, { maxCount: 2 }, { expect: 0 }), { code: "record_conflict" });
  await assert.rejects(streams.setRetention(of, { truncateBefore: 1 }), { code: "invalid_retention" });
  await streams.setRetention({ category: "a" }, { maxAgeMs: 3_600_000 });
  const listed = [];
  for await (const p of streams.retentions()) {
    listed.push(p.category ?? p.stream);
  }
  assert.deepEqual(listed, ["a", "a-1"]);
  assert.deepEqual(await streams.clearRetention(of), { stream: "a-1", truncateBefore: 2, revision: 2 });
  assert.deepEqual(await versions(), [2, 3]);
});
