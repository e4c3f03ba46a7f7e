// A ring of three real nodes to test with.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gyre } from "./node.mjs";

const localring = join(import.meta.dirname, "../../../build/localring");

/** Starts a ring that ends with the test; undefined if the machine has no PostgreSQL. */
export async function startRing(t) {
  const dir = mkdtempSync(join(tmpdir(), "gyre-dashboard-ring-"));
  const ring = spawn(localring, ["-free", "-gyre", gyre, "-dir", dir], { stdio: ["pipe", "pipe", "inherit"] });
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
    const pids = [...exports[2].matchAll(/NODE\d_PID=(\d+)/g)];
    return exports[1].split(",").map((address, i) => ({
      name: `node${i + 1}`,
      id: `node${i + 1}@127.0.0.1`,
      url: `http://${address}`,
      pid: Number(pids[i][1]),
    }));
  }
  const [code] = await ended;
  assert.equal(code, 3, `the ring ended: ${said}`);
  assert.ok(process.env.CI !== "true", "PostgreSQL is missing");
  return undefined;
}
