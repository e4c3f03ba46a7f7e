// The client over TLS, in a process that trusts the node's CA, and in one that does not.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { devCert, gyre, Node, scratch, waitLimit } from "./node.js";

test("over TLS, with a key", async (t) => {
  const { ca, flags } = devCert(t);
  const file = join(scratch(t), "admin.key");
  execFileSync(gyre, ["auth", "key", "new", "--out", file], { stdio: "ignore" });
  const node = await Node.start(t, "memory", ...flags, "--admin-key-file", file);
  assert.match(node.url, /^https:/);
  const program = (trusted: string | undefined) =>
    execFileSync(process.execPath, [join(import.meta.dirname, "secure.js"), node.url, readFileSync(file, "utf8").trim()], {
      env: { ...process.env, NODE_EXTRA_CA_CERTS: trusted },
      encoding: "utf8",
      timeout: waitLimit,
    });
  assert.equal(program(ca), "2 followed, 2 read");
  assert.match(program(undefined), /^unavailable: /);
});
