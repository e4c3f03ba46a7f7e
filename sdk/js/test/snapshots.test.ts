// Snapshots of streams, against a real node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type ConnectOptions, GyreError } from "../dist/index.js";
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
    assert.deepEqual(await snapshots.get(stream), page.snapshot);

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
    await snapshots.delete(stream);
    await snapshots.delete(stream);
    await assert.rejects(c.read(stream, { snapshot: "default", from: 1 }), { code: "invalid_request" });
  });
}
