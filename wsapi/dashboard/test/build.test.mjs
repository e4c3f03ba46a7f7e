// Two builds from the same sources are the same bytes.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

test("two builds are the same bytes", (t) => {
  const at = join(import.meta.dirname, "..");
  const again = mkdtempSync(join(tmpdir(), "gyre-dashboard-build-"));
  t.after(() => rmSync(again, { recursive: true, force: true }));
  execFileSync("npx", ["vite", "build", "--logLevel", "error", "--outDir", again, "--emptyOutDir"], { cwd: at });
  const files = (dir) =>
    readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((f) => f.isFile() && !f.name.startsWith("."))
      .map((f) => join(f.parentPath, f.name).slice(dir.length))
      .sort();
  const first = join(at, "dist");
  assert.deepEqual(files(again), files(first));
  assert.ok(files(again).length > 10);
  for (const name of files(again)) {
    assert.ok(readFileSync(join(again, name)).equals(readFileSync(join(first, name))), `${name} differs`);
  }
});
