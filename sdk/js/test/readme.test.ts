// Runs what README.md shows, and compares what it prints.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Node } from "./node.js";

test("README.md does what it says", async (t) => {
  const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");
  const shown = [...readme.matchAll(/```js\n(.*?)```.*?```text\n(.*?)```/gs)];
  assert.equal(shown.length, 2);
  const node = await Node.start(t, "memory");
  for (const [i, [, code = "", prints]] of shown.entries()) {
    const file = join(import.meta.dirname, `readme-${i + 1}.mjs`);
    writeFileSync(file, code.replace("http://127.0.0.1:4973", node.url));
    assert.equal(execFileSync(process.execPath, [file], { encoding: "utf8" }), prints);
  }
});
