// Snapshots of streams, against a real node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type ConnectOptions, GyreError, newId } from "../dist/index.js";
import { snapshots as snapshotsOf } from "../dist/snapshots.js";
import { Node } from "./node.js";

const modes: Record<string, ConnectOptions> = { bin: {}, json: { json: true } };

for (const [mode, o] of Object.entries(modes)) {
  test(`a page begins behind a snapshot: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, o);
    const snapshots = snapshotsOf(c);
    const stream = "a/b 1";
    await c.append(
      stream,
      [1, 2, 3].map((data) => ({ type: "A", data })),
    );
    assert.equal((await c.read(stream, { snapshot: "default" })).snapshot, undefined);
    await assert.rejects(snapshots.get(stream), { code: "snapshot_not_found" });

    const state = { version: 2, type: "State", data: { total: 3 }, metadata: { by: "me" } };
    assert.equal(await snapshots.put(stream, state), true);
    assert.equal(await snapshots.put(stream, state), false);
    const page = await c.read(stream, { snapshot: "default" });
    assert.deepEqual(
      page.events.map((e) => e.version),
      [3],
    );
    assert.deepEqual(page.snapshot, { stream, kind: "default", ...state, recorded: page.snapshot?.recorded });
    const texts = { dataText: '{"total":3}', metadataText: '{"by":"me"}' };
    assert.deepEqual(await snapshots.get(stream), { ...page.snapshot, ...texts });

    const older = snapshots.put(stream, { version: 1, data: 1 });
    await assert.rejects(older, (e) => GyreError.is(e, "snapshot_older") && e.actual === 2);
    await assert.rejects(snapshots.put(stream, { version: 4, data: 1 }), { code: "snapshot_ahead" });
    assert.equal(await snapshots.put(stream, { version: 1, data: 1 }, { overwrite: true }), true);
    await snapshots.put(stream, { version: 3, dataBase64: "AP8=" }, { kind: "x/y" });
    const kinds = [];
    for await (const s of snapshots.list(stream)) kinds.push([s.kind, s.version, s.bytes]);
    assert.deepEqual(kinds, [
      ["default", 1, 1],
      ["x/y", 3, 2],
    ]);
    assert.equal(await snapshots.delete(stream), true);
    assert.equal(await snapshots.delete(stream), false);
    await assert.rejects(c.read(stream, { snapshot: "default", from: 1 }), { code: "invalid_request" });
  });
}

test("numbers of a snapshot are read as they were written", async (t) => {
  const node = await Node.start(t, "memory");
  const url = `${node.url}/v1/streams/a/snapshots/default`;
  const body = '{"version":1,"data":{"total":9007199254740993}}';
  const put = await fetch(url, { method: "PUT", headers: { "content-type": "application/json" }, body });
  assert.ok(put.ok, await put.text());
  const c = await node.client(t, {});
  assert.equal((await snapshotsOf(c).get("a")).dataText, '{"total":9007199254740993}');
});

test("snapshots are recorded with the events that they are made of, all or nothing", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const snapshots = snapshotsOf(c);
  const event = { id: newId(), type: "A", data: 1 };
  const appends = [{ stream: "a", events: [event], expect: "no_stream" as const }];
  const puts = [{ stream: "a", version: 1, data: { total: 1 } }];
  const exists = [{ stream: "b", expect: "stream_exists" as const }];
  await assert.rejects(snapshots.transact(appends, puts, { checks: exists }), { code: "wrong_expected_version" });
  await assert.rejects(snapshots.get("a"), { code: "snapshot_not_found" });
  const ahead = [{ stream: "a", version: 2, data: 1 }];
  await assert.rejects(snapshots.transact(appends, ahead), { code: "snapshot_ahead" });
  await assert.rejects(c.read("a"), { code: "stream_not_found" });
  const first = await snapshots.transact(appends, puts);
  assert.deepEqual(first, { appends: [{ version: 1, position: 1, count: 1 }], position: 1, duplicate: false, node: "" });
  assert.deepEqual(await snapshots.transact(appends, puts), { ...first, duplicate: true });
  assert.deepEqual((await snapshots.get("a")).data, { total: 1 });
  await snapshots.transact([], [{ stream: "a", kind: "k", version: 1, data: 2 }]);
  assert.equal((await snapshots.get("a", { kind: "k" })).data, 2);
});
