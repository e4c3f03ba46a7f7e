// The host of testing.mjs does what a node does: the guest of the conformance kit has the same effects in both.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Test } from "../testing.mjs";
import { crc32 } from "node:zlib";

const cases = JSON.parse(readFileSync(new URL("../../../plugins/abi/conformance/cases.json", import.meta.url), "utf8"));
const module = new URL("../build/guest.wasm", import.meta.url);

const expand = (text) => text.replace(/\{(.)\*(\d+)\}/g, (_, c, n) => c.repeat(Number(n)));

/** A text, or its length and checksum if it is long, as the kit has it. */
function short(text) {
  const bytes = Buffer.from(text);
  return bytes.length <= 256 ? text : `${bytes.length} bytes, CRC-32 ${crc32(bytes).toString(16).padStart(8, "0")}`;
}

/** Scripts are not JSON. */
const eventOf = (e) => ({
  stream: e.stream ?? "s",
  type: e.type ?? "Script",
  data: new TextEncoder().encode(expand((e.script ?? []).join("\n"))),
  metadata: e.metadata === undefined ? undefined : JSON.parse(e.metadata),
});

/** What Test has no way to say: positions, later batches, errnos, and texts that JSON.stringify writes in another way. */
function isForNodes(c) {
  const host = c.host ?? {};
  const isOfNode = (e) => e.position ?? e.flags ?? e.id ?? e.timeMicros;
  return c.later || c.want.failed !== undefined || host.answers || host.streams || host.http || host.config || (c.events ?? []).some((e) => isOfNode(e) || e.metadata);
}

for (const c of cases.gyre_handle.filter((c) => !isForNodes(c))) {
  const events = c.events ?? [];
  test(c.name, async () => {
    const plugin = await Test.of(module);
    for (const [key, value] of Object.entries(c.host?.state ?? {})) plugin.state.set(expand(key), expand(value));
    for (const [name, value] of Object.entries(c.host?.secrets ?? {})) plugin.secrets.set(name, value);
    const state = new Map(plugin.state);
    const wanted = Object.entries(c.want.results ?? {});
    const end = c.want.verdict !== 0 ? 0 : Number((wanted.find(([, r]) => r.action === 1 || r.action === 2) ?? [events.length])[0]);
    const isLast = end === events.length;
    const done = plugin.handle(events.slice(0, isLast ? undefined : end + 1 + Number(c.want.verdict !== 0)).map(eventOf));
    assert.deepEqual(done.logs.map((l) => `${l.level} ${short(l.text)}`.slice(0, 60)), (c.want.logs ?? []).map((l) => l.slice(0, 60)));
    for (const [i, r] of wanted) {
      assert.equal(["ack", "retry", "park", "skip"].indexOf(done.results[i].action), r.action);
      assert.equal(short(done.results[i].text), r.text ?? "");
      assert.equal(done.results[i].delayMs, r.delayMs ?? 0);
    }
    for (const w of (c.want.writes ?? []).filter((w) => w.event < end)) w.deleted ? state.delete(w.key) : state.set(w.key, w.value ?? "");
    assert.deepEqual(shortened(plugin.state), shortened(state));
    const appended = (c.want.appended ?? []).filter((a) => a.event < end);
    assert.deepEqual(done.appended.map((a) => [a.event, a.stream, a.expected, a.type, a.binary]), appended.map((a) => [a.event, a.stream, a.expected, a.type, a.binary ?? false]));
    assert.deepEqual(Object.fromEntries(plugin.metrics), c.want.metrics ?? {});
  });
}

test("queries are answered from the state, and fail with a reason", async () => {
  const plugin = await Test.of(module);
  plugin.state.set("a1", "one").set("b", "two");
  assert.equal(plugin.query("get|b\nscan|a|9\nanswer|{}"), "{}");
  assert.throws(() => plugin.query("park|no such order"), /no such order/);
  assert.throws(() => plugin.query("trap"));
  assert.equal(plugin.query("answer|still there"), "still there");
});

function shortened(state) {
  return Object.fromEntries([...state].map(([key, value]) => [short(key), short(value)]).sort());
}
