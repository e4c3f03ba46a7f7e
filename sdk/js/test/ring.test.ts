// The client and a ring of three real nodes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { WebSocket as WS } from "ws";
import { admin } from "../dist/admin.js";
import { type Client, type ConnectionState, connect } from "../dist/index.js";
import { gyre, waitLimit } from "./node.js";

/** A node of the ring. */
interface Member {
  readonly name: string;
  readonly address: string;
  readonly pid: number;
}

/** Starts a ring that ends with the test; undefined if the machine has no PostgreSQL. */
async function startRing(t: TestContext): Promise<Member[] | undefined> {
  const dir = mkdtempSync(join(tmpdir(), "gyre-js-ring-"));
  const ring = spawn(join(import.meta.dirname, "localring"), ["-free", "-gyre", gyre, "-dir", dir], {
    stdio: ["pipe", "pipe", "inherit"], // it ends when its input does: with this process
  });
  const ended = once(ring, "exit");
  t.after(async () => {
    ring.kill("SIGTERM");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  });
  let said = "";
  ring.stdout.setEncoding("utf8");
  for await (const text of ring.stdout.iterator({ destroyOnReturn: false })) {
    said += text;
    const exports = /export .*GYRE_SERVER=(\S+) (.*)\n/.exec(said);
    if (exports === null) continue;
    ring.stdout.resume();
    const pids = [...(exports[2] ?? "").matchAll(/NODE\d_PID=(\d+)/g)];
    return (exports[1] ?? "").split(",").map((address, i) => ({ name: `node${i + 1}@127.0.0.1`, address, pid: Number(pids[i]?.[1]) }));
  }
  const [code] = await ended;
  assert.equal(code, 3, `the ring ended: ${said}`);
  assert.ok(process.env["CI"] !== "true", "PostgreSQL is missing");
  return undefined;
}

/** Names what a node owns: the first of name-1, name-2, … */
async function ownedBy(m: Member, kind: "stream" | "subscription"): Promise<string> {
  for (let n = 1; n <= 1000; n++) {
    const answer = await fetch(`http://${m.address}/v1/cluster/whereis?${kind}=name-${n}`);
    const { owner } = (await answer.json()) as { owner: { node: string } };
    if (owner.node === m.name) return `name-${n}`;
  }
  return assert.fail(`${m.name} owns no ${kind}`);
}

test("a client of three nodes goes on when its node, the owner, is killed", async (t) => {
  const ring = await startRing(t);
  if (ring === undefined) {
    t.skip("PostgreSQL is missing");
    return;
  }
  const [one, two, three] = ring as [Member, Member, Member];
  const client = async (addresses: string[], onState?: (s: ConnectionState) => void): Promise<Client> => {
    const c = await connect(addresses, { WebSocket: WS, timeoutMs: waitLimit, ...(onState && { onState }) });
    t.after(() => c.close());
    return c;
  };
  const states: (string | undefined)[] = [];
  const [writer, reader] = [await client([one.address]), await client([two.address])];
  const moving = await client([three.address, one.address, two.address], (s) => states.push(s.address));
  const { cluster } = admin(reader);
  assert.equal((await cluster.status({ node: one.name })).moves, undefined); // none is on its way
  const [stream, name] = [await ownedBy(three, "stream"), await ownedBy(three, "subscription")];

  const first = await writer.append(stream, { type: "A", data: 1 });
  assert.deepEqual([first.node, first.version], [three.name, 1]);
  const owned = await cluster.ownedPage({ node: three.name, limit: 1 });
  assert.deepEqual([owned.node, owned.streams, owned.owned.map((o) => o.name)], [three.name, 1, [stream]]);
  const page = await reader.read(stream);
  assert.deepEqual(
    page.events.map((e) => e.data),
    [1],
  );
  const deliveries = moving.subscribe(name, { options: { stream } })[Symbol.asyncIterator]();
  const handled = async (data: number) => {
    for (;;) {
      const { value: d } = await deliveries.next();
      assert.ok(d !== undefined);
      await d.ack();
      if (d.data === data) return;
      assert.equal(d.data, data - 1); // an ack that was not stored
    }
  };
  await handled(1);

  process.kill(three.pid, "SIGKILL");
  const second = await moving.append(stream, { type: "A", data: 2 }, { expect: 1 });
  assert.notEqual(second.node, three.name);
  await handled(2);
  const third = await writer.append(stream, { type: "A", data: 3 });
  assert.deepEqual([third.node, third.version], [second.node, 3]);
  await handled(3);
  assert.deepEqual([states[0], states.at(-1) !== states[0]], [`http://${three.address}`, true]);
});
