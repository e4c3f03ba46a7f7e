// What operators do, on real nodes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { admin } from "../dist/admin.js";
import { GyreError } from "../dist/index.js";
import { Node } from "./node.js";

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of list) items.push(item);
  return items;
}

test("a subscription from its creation to its end", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const { subscriptions } = admin(c);
  await c.append("order-1", [
    { type: "Placed", data: 1 },
    { type: "Paid", data: 2 },
  ]);
  const made = await subscriptions.put("mail", { stream: "order-1", partitionBy: "stream" }, { create: true });
  assert.deepEqual([made.name, made.state, made.lag], ["mail", "idle", 2]);
  await assert.rejects(subscriptions.put("mail", {}, { create: true }), GyreError);
  assert.equal((await subscriptions.pause("mail")).state, "paused");
  assert.equal((await subscriptions.resume("mail")).state, "idle");

  for await (const d of c.subscribe("mail")) {
    await d.nack("park", { reason: "no address" });
    if (d.version === 2) break;
  }
  const parked = await all(subscriptions.parked("mail"));
  assert.deepEqual(
    parked.map((p) => [p.position, p.reason, p.event?.type]),
    [
      [1, "no address", "Placed"],
      [2, "no address", "Paid"],
    ],
  );
  assert.equal(await subscriptions.replay("mail", { positions: [1] }), 1);
  assert.equal(await subscriptions.drop("mail", [2]), 1);
  assert.equal((await subscriptions.reset("mail", "start")).checkpoint, 0);
  assert.deepEqual(
    (await all(subscriptions.list({ prefix: "ma" }))).map((s) => s.name),
    ["mail"],
  );
  await subscriptions.delete("mail");
  await assert.rejects(subscriptions.info("mail"), { code: "subscription_not_found" });
});

test("keys, and a node without a ring", async (t) => {
  const node = await Node.start(t, "memory");
  const open = admin(await node.client(t, {}));
  await assert.rejects(open.cluster.status(), { code: "not_supported" });
  const [first] = [
    await (
      await fetch(`${node.url}/v1/keys/first`, { method: "POST", body: "{}", headers: { "content-type": "application/json" } })
    ).json(),
  ];
  const { keys } = admin(await node.client(t, { token: first.token }));
  const made = await keys.create({ role: "writer", streams: ["order-*"], note: "shop" });
  assert.match(made.token, /^gyre_/);
  assert.deepEqual((await keys.list()).map((k) => k.role).sort(), ["admin", "writer"]);
  const writer = admin(await node.client(t, { token: made.token })).keys;
  assert.equal((await writer.principal({ action: "append", target: "order-1" })).allowed, true);
  assert.equal((await writer.principal({ action: "append", target: "billing-1" })).allowed, false);
  const consume = { action: "consume", target: "order-1", subscription: "mailer" };
  assert.equal((await writer.principal(consume)).allowed, true);
  await assert.rejects(writer.list(), { code: "forbidden" });
  await keys.revoke(made.id);
  assert.equal((await keys.list()).length, 1);
});

test("a node's counters, and what its log has", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t, {});
  const { node: about } = admin(c);
  await c.append("order-1", [
    { type: "Placed", data: 1 },
    { type: "Paid", data: 2 },
  ]);
  const stats = await about.stats();
  assert.deepEqual([stats.node, stats.log.head, stats.appends.events], ["n1", 2, 2]);
  const { settings } = await about.config();
  assert.deepEqual(
    settings.filter((s) => s.name === "engine").map((s) => [s.value, s.source]),
    [["memory", "flag"]],
  );
  const { features, limits } = await about.server();
  assert.ok(features.includes("census") && (limits["commitEvents"] ?? 0) > 0);
  for (let upTo = 0; upTo < 2; ) upTo = (await about.types()).upTo;
  assert.deepEqual(
    (await about.types({ prefix: "Pl" })).types.map((t) => [t.type, t.events]),
    [["Placed", 1]],
  );
  const { categories } = await about.categories({ sort: "name" });
  const all = await about.stream("$all");
  assert.deepEqual([all.name, all.state, all.created?.position], ["$all", "live", 1]);
  assert.deepEqual(
    categories.map((c) => [c.category, c.streams, c.events]),
    [["order", 1, 2]],
  );
});

test("a scavenge runs in the background", async (t) => {
  const node = await Node.start(t, "memory");
  const { node: about } = admin(await node.client(t, {}));
  assert.equal((await about.scavenge()).state, "none");
  assert.equal((await about.startScavenge({ dryRun: true, bytesPerSecond: 1e6 })).dryRun, true);
  let now = await about.stopScavenge();
  while (now.state !== "done") now = await about.scavenge();
  assert.deepEqual([now.all, now.bytesPerSecond, now.progress], [false, 1e6, 1]);
  await assert.rejects(about.startScavenge({ bytesPerSecond: -1 }), { code: "invalid_request" });
});
