// Builds the client, its tests, and a gyre and a ring of them to test against, and runs the tests:
//
//   node test/run.mjs [name …]      all tests, or those of test/name.test.ts
//
// GYRE_TEST_BIN names another gyre, that is then not built. Like testbudget for Go, it shows what
// the run took beside its time budget, which fails nothing.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const budgetSeconds = 60;

const root = join(import.meta.dirname, "..");
const build = join(root, "build");
const run = (command, ...args) => execFileSync(command, args, { cwd: root, stdio: "inherit" });

rmSync(join(root, "dist"), { recursive: true, force: true });
for (const file of existsSync(build) ? readdirSync(build) : []) {
  if (file.endsWith(".js")) rmSync(join(build, file));
}
const tsc = join(root, "node_modules/typescript/bin/tsc");
run(process.execPath, "src/generate.mjs");
run(process.execPath, tsc, "-p", "src");
run(process.execPath, tsc, "-p", "test");
const gyre = process.env.GYRE_TEST_BIN ?? join(build, "gyre");
if (!process.env.GYRE_TEST_BIN) run("go", "build", "-o", gyre, "../../cmd/gyre");
run("go", "build", "-o", join(build, "localring"), "../../internal/localring/run");

const wanted = process.argv.slice(2).map((name) => `${name}.test.js`);
const files = readdirSync(build).filter((f) => f.endsWith(".test.js") && (wanted.length === 0 || wanted.includes(f)));
const began = Date.now();
// Node before 22 has its own WebSocket behind a flag: some tests compare it with that of package ws.
const flags = process.versions.node.startsWith("20.") ? ["--experimental-websocket", "--no-warnings"] : [];
const { status } = spawnSync(
  process.execPath,
  [...flags, "--test", "--test-timeout=50000", "--test-reporter=spec", ...files.map((f) => join(build, f))],
  { cwd: root, stdio: "inherit", env: { ...process.env, GYRE_TEST_BIN: gyre } },
);
const took = (Date.now() - began) / 1000;
process.stdout.write(`\nsdk/js took ${took.toFixed(1)}s, budget ${budgetSeconds}s${took > budgetSeconds ? "  over" : ""}\n`);
process.exitCode = status === 0 ? 0 : 1;
