// What is published: its size, its types, and that it agrees with the rest of Gyre.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { GyreError } from "../dist/index.js";
import { gyre } from "./node.js";

const root = join(import.meta.dirname, "..");
const read = (...path: string[]) => readFileSync(join(root, ...path), "utf8");

/** What a bundler makes of some code that uses the package. */
async function bundle(code: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: join(root, "dist") },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
    logLevel: "error",
  });
  return outputFiles[0]?.contents as Uint8Array;
}

test("it is small, and what is not used is left out", async () => {
  const all = gzipSync(await bundle('export * from "./index.js"'), { level: 9 }).length;
  assert.ok(all < 15_400, `${all} bytes, compressed`);
  const more = gzipSync(await bundle('export * from "./index.js"; export * from "./admin.js"'), { level: 9 }).length - all;
  assert.ok(more < 3500, `${more} bytes more for operators, compressed`);
  assert.equal((await bundle('import "./index.js"')).length, 0);
  const id = await bundle('import { newId } from "./index.js"; console.log(newId())');
  assert.ok(id.length < 2000, `${id.length} bytes for newId alone`);
});

test("its types say what things are", () => {
  for (const name of readdirSync(join(root, "dist")).filter((f) => f.endsWith(".d.ts"))) {
    assert.doesNotMatch(read("dist", name).replace(/\/\*.*?\*\//gs, ""), /\bany\b(?!")/, name);
  }
});

test("everything that is exported is documented", () => {
  for (const name of readdirSync(join(root, "src")).filter(
    (f) => f.endsWith(".ts") && !["index.ts", "admin.ts", "schemas.ts"].includes(f),
  )) {
    const lines = read("src", name).split("\n");
    lines.forEach((line, i) => {
      const declares = /^export (?!type \{)(?:abstract )?(?:async )?(?:function\*?|class|interface|type|const) (\w+)/.exec(line);
      const exported = declares && new RegExp(`\\b${declares[1]}\\b`).test(read("src", "index.ts") + read("src", "admin.ts"));
      if (exported) assert.match(lines[i - 1] as string, /\*\/$/, `${name}: ${declares[1]}`);
    });
  }
});

test("it depends on nothing, and says its own version", () => {
  const manifest = JSON.parse(read("package.json"));
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.peerDependencies, undefined);
  assert.match(read("src", "client.ts"), new RegExp(`^const version = "${manifest.version}";$`, "m"));
  for (const version of Object.values(manifest.devDependencies)) assert.match(version as string, /^\d+\.\d+\.\d+$/, "pinned");
  for (const url of read("package-lock.json").match(/"resolved": ".*"/g) ?? []) {
    assert.match(url, /^"resolved": "https:\/\/registry\.npmjs\.org\//);
  }
});

test("its errors are as retryable as the catalogue says", () => {
  const catalogue = JSON.parse(execFileSync(gyre, ["explain", "-o", "json"], { encoding: "utf8" })) as {
    code: string;
    retryable: boolean;
  }[];
  const own = [
    "canceled",
    "timeout",
    "too_many_requests",
    "unavailable",
    "unknown_outcome",
    "protocol_error",
    "lease_lost",
    "invalid_data",
  ];
  for (const code of own) {
    assert.equal(new GyreError(code, "").retryable, catalogue.find((c) => c.code === code)?.retryable, code);
  }
});
