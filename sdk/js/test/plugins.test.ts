// Plugins of a real node: a module in Rust that counts words.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { admin, type PluginBinding, type PluginLogLine, type Plugins } from "../dist/admin.js";
import { Node, waitLimit } from "./node.js";

const guest = (name: string) => new Uint8Array(readFileSync(join(import.meta.dirname, `../../../plugins/wasm/guests/${name}.wasm`)));

const module = guest("words");

const manifest = (version: string) => ({
  name: "words",
  version,
  abi: "gyre_1",
  kind: "projection",
  capabilities: ["state"],
  subscription: { stream: "in" },
});

/** Waits until a binding has handled everything, and is as it is to be. */
async function handled(p: Plugins, is: (b: PluginBinding) => boolean = () => true): Promise<PluginBinding> {
  for (const by = Date.now() + waitLimit; ; await setTimeout(20)) {
    const b = await p.info("words");
    if (b.state === "running" && b.lag === 0 && is(b)) return b;
    assert.ok(Date.now() < by, JSON.stringify(b));
  }
}

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of list) items.push(item);
  return items;
}

test("plugins shape a subscription", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const p = admin(c).plugins;
  for (const kind of ["filter", "map", "partition"] as const)
    await p.upload(kind, "1", guest("orders"), { manifest: { name: kind, version: "1", abi: "gyre_1", kind } });
  await c.append(
    "order-1",
    [50, 150, 250].map((total) => ({ type: "Placed", data: { total } })),
  );
  const options = { filter: { plugin: "filter@1" }, map: { plugin: "map@1" }, partitionBy: "plugin:partition@1" };
  const got: unknown[] = [];
  for await (const d of c.subscribe("large", { options })) {
    got.push(d.data);
    await d.ack();
    if (got.length === 2) break;
  }
  assert.deepEqual(got, [{ sum: 150 }, { sum: 250 }]);
  await assert.rejects(p.deleteVersion("filter", "1"), { code: "plugin_in_use" });
  const missing = { filter: { plugin: "filter@2" } };
  await assert.rejects(admin(c).subscriptions.put("other", missing, { create: true }), { code: "version_not_found" });
});

test("a plugin's state is watched", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const p = admin(c).plugins;
  await c.append("in", { type: "Said", data: { words: "a rose" } });
  await p.upload("words", "1.0.0", module, { manifest: manifest("1.0.0") });
  await p.deploy("words", { version: "1.0.0", grants: ["state"] });
  assert.ok((await p.state("words", "words", { atLeast: 1 })) instanceof Uint8Array);
  await assert.rejects(p.state("words", "words", { atLeast: 9, timeoutMs: 200 }), { code: "timeout" });
  await assert.rejects(p.query("words", { n: 1 }), { code: "no_query" });
  const stop = new AbortController();
  const seen: string[] = [];
  let cursor = "";
  await assert.rejects(
    async () => {
      for await (const m of p.watch("words", { prefix: "w", signal: stop.signal })) {
        seen.push(`${m.kind} ${m.entries.map((e) => e.key)}`);
        cursor = m.cursor ?? cursor;
        if (m.kind === "live") await c.append("in", { type: "Said", data: { words: "is a rose" } });
        if (m.kind === "change") stop.abort();
      }
    },
    { code: "canceled" },
  );
  assert.deepEqual(seen, ["state words", "live ", "change words"]);
  await c.append("in", { type: "Said", data: { words: "rose" } });
  for await (const m of p.watch("words", { prefix: "w", cursor })) {
    assert.deepEqual([m.kind, m.position], ["change", 3]);
    break;
  }
  await assert.rejects(
    async () => {
      for await (const _ of p.watch("none"));
    },
    { code: "binding_not_found" },
  );
});

test("a plugin from its upload to its end", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const p = admin(c).plugins;
  await c.append("in", { type: "Said", data: { words: "a rose is a rose" } });
  const v = await p.upload("words", "1.0.0", module, { manifest: manifest("1.0.0") });
  assert.equal(v.bytes, module.length);
  await p.upload("words", "2.0.0", module, { manifest: manifest("2.0.0") });
  assert.deepEqual(
    (await all(p.versions("words"))).map((v) => v.version),
    ["1.0.0", "2.0.0"],
  );
  const b = await p.deploy("words", { version: "1.0.0", grants: ["state"], config: { n: 1 } });
  assert.deepEqual([b.version, b.grants, b.config, b.generation], ["1.0.0", ["state"], { n: 1 }, 1]);
  assert.equal((await handled(p)).totals.events, 1);
  const configText = '{"n":9007199254740993,"config":0}'; // no number of JavaScript
  await p.deploy("words", { version: "1.0.0", grants: ["state", "streams.read"] });
  for (const is of [
    await p.deploy("words", { version: "1.0.0", grants: ["state"], configText }),
    await p.info("words"),
    (await all(p.list()))[0]?.binding,
  ])
    assert.deepEqual([is?.configText, is?.grants, is?.formerGrants], [configText, ["state"], ["streams.read"]]);

  const value = await p.state("words", "words");
  assert.ok(value instanceof Uint8Array); // it is no JSON
  assert.match(new TextDecoder().decode(value), /^a 2\nrose 2\n/);
  assert.deepEqual(await all(p.entries("words", { prefix: "w" })), [{ lane: 0, key: "words", value }]);
  assert.deepEqual(await all(p.entries("words", { after: "words", page: 1 })), []);
  await assert.rejects(p.state("words", "none"), { code: "state_not_found" });
  assert.equal((await p.abi()).limits.batchEvents, 256);

  const lines: PluginLogLine[] = [];
  for await (const line of p.logs("words", { follow: true })) {
    lines.push(line);
    if (lines.length === 1) await c.append("in", { type: "Said", data: { words: "more" } });
    else break;
  }
  assert.deepEqual(
    lines.map((l) => [l.text, l.seq]),
    [
      ["1 events, 4 words", 1],
      ["1 events, 2 words", 2],
    ],
  );

  assert.equal((await p.pause("words")).state, "paused");
  assert.notEqual((await p.resume("words")).state, "paused");
  assert.equal((await p.deploy("words", { version: "2.0.0" })).version, "2.0.0");
  await assert.rejects(p.deleteVersion("words", "1.0.0"), { code: "plugin_in_use" });
  assert.equal((await p.rollback("words", { to: "version" })).version, "1.0.0");
  assert.equal((await p.rebuild("words", { from: "start", version: "2.0.0", hold: true })).beside?.generation, 2);
  await assert.rejects(p.rollback("words"), { code: "rebuild_under_way" });
  assert.equal((await p.cancelRebuild("words")).beside, undefined);
  await assert.rejects(p.switch("words"), { code: "no_rebuild" });
  await p.rebuild("words", { hold: true });
  await handled(p, (b) => b.beside?.percent === 100);
  assert.equal((await p.switch("words")).before?.generation, 1);
  assert.equal((await p.rollback("words", { to: "generation" })).generation, 1);
  assert.equal((await p.rollback("words")).generation, 3);
  assert.equal((await p.dropBefore("words")).rollback?.to, undefined);
  await handled(p);
  assert.deepEqual(
    (await all(p.list())).map((l) => [l.name, l.version, l.binding?.version]),
    [["words", "2.0.0", "1.0.0"]],
  );
  await p.delete("words");
  await assert.rejects(p.info("words"), { code: "binding_not_found" });
  await p.deleteVersion("words", "1.0.0");
});

test("a dry run", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const p = admin(c).plugins;
  await p.upload("words", "1.0.0", module, { manifest: manifest("1.0.0") });
  await c.append("in", { type: "Said", data: { words: "a rose is a rose" } });
  const r = await p.dryRun("words", { version: "1.0.0", against: "1.0.0", show: 5 });
  assert.deepEqual([r.events, r.tried.acked, r.tried.state.added, r.differences?.events], [1, 1, 1, 0]);
  assert.deepEqual([r.tried.state.first[0]?.key, r.tried.logs.first[0]?.text], ["words", "1 events, 4 words"]);
  await assert.rejects(p.info("words"), { code: "binding_not_found" });
  await assert.rejects(p.dryRun("words", { version: "1.0.0", from: 7 }), { code: "invalid_dry_run_range" });
  const events = Array.from({ length: 500 }, () => ({ type: "Said", data: { words: "a rose is a rose" } }));
  for (let i = 0; i < 40; i++) await c.append("in", events);
  const positions: number[] = [];
  await p.dryRun("words", { version: "1.0.0" }, { onProgress: (progress) => positions.push(progress.position) });
  assert.deepEqual(
    positions,
    positions.toSorted((a, b) => a - b),
  );
  assert.ok(positions.length > 0);
  const aborted = new AbortController();
  const run = p.dryRun("words", { version: "1.0.0" }, { signal: aborted.signal, onProgress: () => aborted.abort() });
  await assert.rejects(run, { code: "canceled" });
});

test("a shadow", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const p = admin(c).plugins;
  for (const version of ["1.0.0", "2.0.0"]) await p.upload("words", version, module, { manifest: manifest(version) });
  await p.deploy("words", { version: "1.0.0", grants: ["state"] });
  assert.equal((await p.shadow("words", "2.0.0")).shadow?.version, "2.0.0");
  for (const by = Date.now() + waitLimit; ; ) {
    await c.append("in", { type: "Said", data: { words: "a rose is a rose" } });
    await handled(p);
    const r = await p.differences("words", { limit: 5 });
    assert.deepEqual([r.version, r.shadow.differ, r.differences], ["1.0.0", 0, []]);
    if (r.shadow.events > 0) break;
    assert.ok(Date.now() < by, JSON.stringify(r));
  }
  const switched = await p.switch("words");
  assert.deepEqual([switched.version, switched.previous, switched.shadow], ["2.0.0", "1.0.0", undefined]);
  await assert.rejects(p.differences("words"), { code: "shadow_not_found" });
  await p.shadow("words", "1.0.0");
  assert.equal((await p.endShadow("words")).shadow, undefined);
});

test("what is refused", async (t) => {
  const node = await Node.start(t, "memory");
  const p = admin(await node.client(t, { json: true })).plugins;
  await assert.rejects(p.upload("words", "1.0.0", new Uint8Array([1, 2])), { code: "invalid_module" });
  await assert.rejects(p.upload("words", "1.0.0", module), { code: "invalid_manifest" });
  await assert.rejects(p.deploy("words", { version: "1.0.0" }), { code: "plugin_not_found" });
  await assert.rejects(p.pause("words"), { code: "binding_not_found" });
  await assert.rejects(all(p.versions("words")), { code: "plugin_not_found" });
  await assert.rejects(all(p.logs("words")), { code: "binding_not_found" });
});

test("what a plugin has parked", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const p = admin(c).plugins;
  const long = Array.from({ length: 5000 }, (_, i) => `w${i}`).join(" ");
  const dataText = `{"words":"${long}","n":9007199254740993}`;
  await c.append("in", [
    { type: "Said", data: { words: "a rose" } },
    { type: "Said", dataText },
    { type: "Said", data: { words: long } },
  ]);
  await p.upload("words", "1.0.0", module, { manifest: manifest("1.0.0") });
  const limits = { fuel: 1_000_000, batchEvents: 1 };
  await p.deploy("words", { version: "1.0.0", grants: ["state"], limits, onError: { attempts: 1 } });
  await handled(p, (b) => b.parked === 2);
  const [first, ...rest] = await all(p.poison("words"));
  assert.deepEqual([first?.position, first?.type, rest.map((e) => e.position)], [2, "Said", [3]]);
  assert.deepEqual(await all(p.poison("words", { after: 2 })), rest);
  const shown = await p.showPoison("words", 2);
  assert.match(shown.reason, /out of fuel/);
  assert.equal(shown.history.length, 1);
  assert.deepEqual([shown.event?.position, shown.event?.dataText], [2, dataText]);
  assert.equal((await p.runPoison("words", 2)).fate, "parked");
  assert.deepEqual((await p.retryPoison("words", 2)).outcome, "parked");
  await p.deploy("words", { limits: {} });
  const ran = await p.runPoison("words", 2, { version: "1.0.0" });
  assert.deepEqual([ran.fate, ran.tried.state.changed, ran.steps.list.map((s) => s.do)], ["acked", 1, ["log", "put"]]);
  assert.equal((await p.retryPoison("words", 2)).outcome, "handled");
  await p.dropPoison("words", 3);
  assert.deepEqual(await all(p.poison("words")), []);
  await assert.rejects(p.showPoison("words", 2), { code: "event_not_parked" });
});
