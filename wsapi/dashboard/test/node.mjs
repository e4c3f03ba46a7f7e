// Real nodes and a real browser to test with.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const gyre = process.env.GYRE_TEST_BIN;
export const screens = join(import.meta.dirname, "../../../build/screens");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** A node of its own, on a port that it keeps when it is started again. */
export class Node {
  url = "";
  #listen = "127.0.0.1:0";
  #process;
  #args;

  static async start(t, ...flags) {
    const data = mkdtempSync(join(tmpdir(), "gyre-dashboard-"));
    const node = new Node();
    node.#args = ["serve", "--data", data, "--node", "n1", "--log-level", "error", ...flags];
    t.after(async () => {
      await node.kill();
      rmSync(data, { recursive: true, force: true });
    });
    await node.start();
    return node;
  }

  async start() {
    this.#process = spawn(gyre, [...this.#args, "--listen", this.#listen], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    this.#process.stderr.setEncoding("utf8");
    for await (const text of this.#process.stderr.iterator({ destroyOnReturn: false })) {
      said += text;
      const url = /HTTP\s+(http:\S+)/.exec(said)?.[1];
      if (url === undefined) continue;
      this.url = url;
      this.#listen = url.slice("http://".length);
      this.#process.stderr.resume();
      return;
    }
    throw new Error(`gyre serve ended: ${said}`);
  }

  /** kill -9. */
  async kill() {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((done) => this.#process.once("exit", done));
    this.#process.kill("SIGKILL");
    await ended;
  }

  /** Runs a command of gyre against the node, and returns what it prints. */
  run(args, input) {
    return new Promise((done, fail) => {
      const child = spawn(gyre, args, { env: { ...process.env, GYRE_SERVER: this.url, XDG_CONFIG_HOME: tmpdir() } });
      let out = "";
      child.stdout.on("data", (d) => (out += d));
      child.stderr.on("data", (d) => (out += d));
      child.on("exit", (code) => (code === 0 ? done(out) : fail(new Error(`gyre ${args.join(" ")}: ${out}`))));
      child.stdin.end(input);
    });
  }
}

/** A custom section of a module. */
export function custom(name, body) {
  const whole = Buffer.concat([Buffer.from([name.length]), Buffer.from(name), Buffer.from(body)]);
  return Buffer.concat([Buffer.from([0]), leb(whole.length), whole]);
}

const leb = (n) => (n < 128 ? Buffer.from([n]) : Buffer.concat([Buffer.from([(n & 127) | 128]), leb(n >> 7)]));

/** The module of a plugin that counts words, with a manifest in it, or without. */
export function words(manifest) {
  return guest("words", manifest && { name: "words", version: "1.0.0", kind: "projection", ...manifest });
}

/** A module of plugins/wasm/guests, with a manifest in it, or without. */
export function guest(name, manifest) {
  const module = readFileSync(join(import.meta.dirname, `../../../plugins/wasm/guests/${name}.wasm`));
  if (manifest === undefined) return module;
  const base = { abi: "gyre_1", capabilities: ["state"] };
  return Buffer.concat([module, custom("gyre.manifest", JSON.stringify({ ...base, ...manifest }))]);
}

/** Launches a browser that ends with the test. */
export async function browser(t) {
  const b = await chromium.launch({
    executablePath: process.env.GYRE_TEST_CHROMIUM,
    args: ["--no-sandbox", "--disable-quic", "--disable-background-networking"],
  });
  t.after(() => b.close());
  return b;
}

/** Opens a page that fails the test when it writes an error to the console. */
export async function open(t, b, { theme = "light", width = 1440, height = 900, scale = 1 } = {}) {
  const viewport = { width, height };
  const look = { colorScheme: theme, reducedMotion: "reduce", deviceScaleFactor: scale };
  const context = await b.newContext({ viewport, ...look });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.problems = [];
  page.on("pageerror", (e) => page.problems.push(e.message));
  page.on("console", (m) => m.type() === "error" && page.problems.push(`${m.text()} ${m.location().url}`));
  t.after(() => context.close());
  return page;
}

/** Looks at a page as a phone shows it: whole, and without barriers. The page is as large as before then. */
export async function phone(page, name) {
  const before = page.viewportSize();
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: join(screens, `${name}-phone.png`), fullPage: true });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${name} is ${wide} px too wide`);
  assert.deepEqual(await barriers(page), [], name);
  await page.setViewportSize(before);
}

/** What axe finds that is serious, in words. */
export async function barriers(page) {
  // The policy of the pages lets nothing be put in; axe comes by the debugger.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(" | ")}`);
}
