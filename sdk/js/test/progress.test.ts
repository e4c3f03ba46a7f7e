// A client's own place in the log, against a real node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { admin } from "../dist/admin.js";
import { type ConnectOptions, GyreError, newId } from "../dist/index.js";
import { Node } from "./node.js";

const modes: Record<string, ConnectOptions> = { bin: {}, json: { json: true } };

for (const [mode, o] of Object.entries(modes)) {
  test(`a place moves with what is appended: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, o);
    const event = (n: number) => ({ type: "A", data: n });
    await c.append("in", [event(1), event(2), event(3)]);
    assert.equal(await c.progress("a/b"), undefined);
    await c.append("out", event(1), { progress: { name: "a/b", from: 0, to: 1 } });
    const { id } = (await c.read("in")).events[0] as { id: string };
    await c.link("linked", id, { progress: { name: "a/b", from: 1, to: 2 } });
    const alone = { progress: { name: "a/b", from: 2, to: 3, id: newId().toUpperCase() } };
    assert.deepEqual(await c.transact([], alone), { appends: [], position: 0, duplicate: false, node: "n1" });
    assert.equal((await c.transact([], alone)).duplicate, true);

    const lost = c.append("out", event(2), { progress: { name: "a/b", from: 1, to: 3 } });
    await assert.rejects(lost, (e) => GyreError.is(e, "progress_conflict") && e.expected === 1 && e.actual === 3);
    assert.equal((await c.read("out")).version, 1);
    const info = await c.progress("a/b");
    assert.ok(info);
    assert.deepEqual([info.name, info.position, info.lag, info.cursor], ["a/b", 3, 2, `${info.log}.3`]);
    assert.ok(Date.parse(info.moved) > 0);
    for await (const e of c.follow("$all", { from: { progress: "a/b" } })) {
      assert.equal(e.position, 4);
      break;
    }

    await c.transact([], { progress: { name: "b", from: 0, to: 1, log: info.log } });
    const { progress } = admin(c);
    const names = async (prefix: string) => {
      const found = [];
      for await (const p of progress.list({ prefix })) found.push(p.name);
      return found;
    };
    assert.deepEqual(await names("b"), ["b"]);
    assert.deepEqual(await names(""), ["a/b", "b"]);
    await progress.delete("a/b");
    await assert.rejects(progress.delete("a/b"), { code: "not_found" });
  });

  test(`of many workers one wins, and bad moves change nothing: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, o);
    await c.append("in", { type: "A", data: 1 });
    const tries = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) => c.append("out", { type: "B", data: n }, { progress: { name: "p", from: 0, to: 1 } })),
    );
    assert.equal(tries.filter((r) => r.status === "fulfilled").length, 1);
    for (const r of tries) assert.ok(r.status === "fulfilled" || GyreError.is(r.reason, "progress_conflict"));
    for (const [progress, code] of [
      [{ name: "", from: 1, to: 2 }, "invalid_progress"],
      [{ name: "$p", from: 1, to: 2 }, "invalid_progress"],
      [{ name: "p\ud800", from: 1, to: 2 }, "invalid_progress"],
      [{ name: "x".repeat(257), from: 1, to: 2 }, "invalid_progress"],
      [{ name: "p", from: 1, to: 1 }, "invalid_progress"],
      [{ name: "p", from: -1, to: 1 }, "invalid_progress"],
      [{ name: "p", from: 0.5, to: 1 }, "invalid_progress"],
      [{ name: "p", from: 1, to: 2 ** 53 }, "invalid_progress"],
      [{ name: "p", from: 1, to: 99 }, "invalid_progress"],
      [{ name: "p", from: 1, to: 2, log: "other" }, "log_changed"],
      [{ name: "p", from: 1, to: 2, id: "x" }, "invalid_event_id"],
    ] as const) {
      await assert.rejects(c.append("out", { type: "B", data: 0 }, { progress }), { code }, JSON.stringify(progress));
    }
    assert.equal((await c.read("out")).version, 1);
  });
}
