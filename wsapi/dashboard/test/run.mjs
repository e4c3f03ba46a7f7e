// Builds a gyre with the dashboard in it, and tests the pages in a real Chromium:
//
//	node test/run.mjs             what make test runs: each page once
//	node test/run.mjs --all       what make test-dashboard runs: all of it
//	node test/run.mjs --pictures  takes the pictures of docs/dashboard anew
//
// Pictures of the pages go to build/screens of the repository.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../../..");
const pictures = process.argv.includes("--pictures");
const all = pictures || process.argv.includes("--all");
const executable =
  process.env.GYRE_TEST_CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
if (executable === undefined) {
  if (process.env.CI === "true") throw new Error("Chromium is missing");
  process.stderr.write("dashboard: no Chromium, so its pages are not tested\n");
  process.exit(0);
}
const run = (command, ...args) => execFileSync(command, args, { cwd: root, stdio: "inherit" });
const gyre = join(root, "build/gyre-dashboard");
mkdirSync(join(root, "build/screens"), { recursive: true });
run("npm", "run", "--silent", "--prefix", import.meta.dirname + "/..", "build");
run("go", "build", "-trimpath", "-o", gyre, "./cmd/gyre");
if (all) run("go", "build", "-o", join(root, "build/localring"), "./internal/localring/run");

const files = readdirSync(import.meta.dirname)
  .filter((f) => f.endsWith(pictures ? "pictures.mjs" : all ? ".test.mjs" : "pages.test.mjs"))
  .map((f) => join(import.meta.dirname, f));
const { status } = spawnSync(
  process.execPath,
  ["--test", "--test-concurrency=1", `--test-timeout=${all ? 900_000 : 120_000}`, "--test-reporter=spec", ...files],
  { cwd: root, stdio: "inherit", env: { ...process.env, GYRE_TEST_BIN: gyre, GYRE_TEST_CHROMIUM: executable } },
);
process.exitCode = status === 0 ? 0 : 1;
