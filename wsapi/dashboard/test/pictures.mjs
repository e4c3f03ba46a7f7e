// Takes the pictures of docs/dashboard.md, of real nodes with the history of examples/: it is run by
// node test/run.mjs --pictures. Without PostgreSQL that of the ring stays as it is.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { browser, guest, Node, open } from "./node.mjs";
import { startRing } from "./ring.mjs";

const root = join(import.meta.dirname, "../../..");
const size = { width: 1200, height: 640 };
const tall = { width: 1200, height: 800 };
const history = readFileSync(join(root, "examples/temporal-sample.ndjson"), "utf8");
const event = "/streams/file-temporal%2Fservice%2Fhistory%2FhistoryEngine.go/9";

async function call(node, method, path, type, body) {
  const answer = await fetch(node.url + path, { method, headers: { "content-type": type }, body });
  assert.ok(answer.ok, await answer.text());
}

/** Takes a picture of a page, once it shows a text and what moves has been seen for a while. */
async function take(page, url, name, text, settle = 1500) {
  await page.goto(url);
  await page.locator("main").getByText(text).filter({ visible: true }).first().waitFor();
  await pause(settle);
  await shot(page, name);
}

const shot = (page, name) => page.screenshot({ path: join(root, "docs/dashboard", `${name}.png`) });

/** Does something again and again, until it is stopped. */
function again(step) {
  let going = true;
  const done = (async () => {
    for (let i = 0; going; i++) await step(i);
  })();
  return () => {
    going = false;
    return done;
  };
}

const append = (node, stream, event) =>
  fetch(`${node.url}/v1/streams/${encodeURIComponent(stream)}/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(event),
  });
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Appends the history again and again. */
function load(node) {
  const lines = history.trim().split("\n");
  return again(async (i) => {
    const { stream, type, data } = JSON.parse(lines[i % lines.length]);
    const answer = await append(node, stream, { type, data });
    assert.ok(answer.ok, await answer.text());
    await pause(i % 50 < 25 ? 4 : 9);
  });
}

/** Appends baskets, of which a validator refuses some. */
const judged = (node) =>
  again(async (i) => {
    const answer = await append(node, `basket-${i % 40}`, { type: "BasketFilled", data: { total: (i % 9) - 1 } });
    await answer.text();
    await pause(20 + (i % 30));
  });

test("pictures of a node", async (t) => {
  const node = await Node.start(t);
  await node.run(["import", "-"], history);
  await node.run(["subscriptions", "create", "billing", "--from", "end"]);
  await node.run(["subscriptions", "create", "mail", "--types", "CommitAuthored"]);
  await node.run(["subscriptions", "create", "search-index"]);
  const b = await browser(t);
  const light = await open(t, b, size);
  await light.goto(`${node.url}/start`);
  await light.getByRole("button", { name: "Deploy" }).click();
  await light.getByText("The sample plugin runs").waitFor({ timeout: 60_000 });
  const stop = load(node);
  await take(light, node.url, "overview", "Written just now", 25_000);
  await take(light, `${node.url}/streams`, "streams", "Changed");
  await take(light, node.url + event, "event", "Changed since version 8");
  await light.setViewportSize({ ...size, height: 560 });
  await take(light, `${node.url}/tail`, "tail", "Arriving", 12_000);
  await take(light, `${node.url}/subscriptions`, "subscriptions", "search-index", 4000);
  const dark = await open(t, b, { ...size, theme: "dark" });
  await take(dark, node.url, "overview-dark", "Written just now", 25_000);
  await take(dark, node.url + event, "event-dark", "Changed since version 8");
  await stop();
});

/** Builds a plugin of examples/plugins, with some of its text replaced, and uploads it as a version. */
async function upload(t, node, example, name, version, ...replaced) {
  const dir = mkdtempSync(join(tmpdir(), "gyre-pictures-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const source = join(root, "examples/plugins", example);
  const main = join(source, "main.go");
  const [from, to] = replaced.length === 2 ? replaced : ["", ""];
  writeFileSync(join(dir, "main.go"), readFileSync(main, "utf8").replace(from, to));
  writeFileSync(join(dir, "overlay"), JSON.stringify({ Replace: { [main]: join(dir, "main.go") } }));
  const args = ["-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"];
  execFileSync("go", ["build", ...args, "-overlay", join(dir, "overlay"), "-o", join(dir, "module"), "."], {
    cwd: source,
    env: { ...process.env, GOOS: "wasip1", GOARCH: "wasm", CGO_ENABLED: "0" },
  });
  const manifest = JSON.parse(readFileSync(join(source, "gyre.plugin.json"), "utf8"));
  await put(node, name, version, readFileSync(join(dir, "module")), { ...manifest, name, version });
}

async function put(node, name, version, module, manifest) {
  const form = new FormData();
  form.append("manifest", new Blob([JSON.stringify(manifest)], { type: "application/json" }));
  form.append("module", new Blob([module], { type: "application/wasm" }));
  const answer = await fetch(`${node.url}/v1/plugins/${name}/versions/${version}`, { method: "PUT", body: form });
  assert.ok(answer.ok, await answer.text());
}

const deploy = (node, name, d) =>
  call(node, "POST", `/v1/plugins/${name}/deploy`, "application/json", JSON.stringify(d));

/** Waits until a binding has handled everything. */
async function handled(node, name) {
  const lag = async () => (await (await fetch(`${node.url}/v1/plugins/${name}`)).json()).lag;
  while ((await lag()) > 0) await pause(50);
}

const themes = [
  ["light", ""],
  ["dark", "-dark"],
];

/** Orders, of which some are what a plugin does not expect. */
const orders = [3, 1, 0, 2, 4, 0, 1, 5, 2]
  .map((items, i) => ({
    items: Array.from({ length: items }, (_, n) => ({ sku: `A-${100 * i + n}`, price: 10 * n + i })),
  }))
  .map((data, i) => `${JSON.stringify({ stream: `order-${1041 + i}`, type: "OrderPlaced", data })}\n`)
  .join("");

test("pictures of plugins", async (t) => {
  const node = await Node.start(t);
  await node.run(["import", "-"], history);
  await upload(t, node, "hotspots", "hotspots", "1.0.0");
  await upload(t, node, "hotspots", "hotspots", "1.1.0", "if !ok {", 'if !ok || e.Type == "FileDeleted" {');
  await upload(t, node, "changes", "changes", "1.0.0");
  await upload(t, node, "poison", "sales", "1.0.0");
  await upload(t, node, "poison-mended", "sales", "1.1.0");
  await deploy(node, "hotspots", { version: "1.0.0", grants: ["append:hotspot-*", "state"], config: { threshold: 5 } });
  await deploy(node, "changes", { version: "1.0.0", grants: ["state"] });
  await deploy(node, "sales", { version: "1.0.0", grants: ["append:dearest", "state"] });
  await node.run(["import", "-"], orders);
  await put(node, "baskets", "1.0.0", guest("orders"), {
    name: "baskets",
    version: "1.0.0",
    abi: "gyre_1",
    kind: "validate",
    description: "Refuses baskets whose total is not above zero.",
    subscription: { filter: { streams: ["basket-*"] } },
  });
  await deploy(node, "baskets", { version: "1.0.0", grants: [], input: { filter: { streams: ["basket-*"] } } });
  await call(node, "POST", "/v1/plugins/hotspots/shadow", "application/json", '{"version":"1.1.0"}');
  await node.run(["import", "-"], history.replace(/"id":"[^"]*",/g, ""));
  await handled(node, "hotspots");
  const b = await browser(t);
  for (const [theme, end] of themes) {
    const page = await open(t, b, { ...tall, theme });
    await page.goto(`${node.url}/plugins/hotspots?view=dry-run&try=1.1.0&against=1.0.0&to=2000&at=695`);
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page.getByText("Where they differ").waitFor({ timeout: 60_000 });
    await shot(page, `dry-run${end}`);
    await page.goto(`${node.url}/plugins/hotspots?view=shadow`);
    await page.getByRole("button", { name: /^Show \d/ }).click();
    await page.getByRole("link", { name: "only 1.0.0 appends" }).first().click();
    await page.evaluate(() => scrollTo(0, 0));
    await shot(page, `shadow${end}`);
    await page.goto(`${node.url}/plugins/sales?view=parked`);
    await page.getByRole("link", { name: "OrderPlaced" }).first().click();
    await page.getByLabel("Version").selectOption("1.1.0");
    await page.getByRole("button", { name: "Run without effect" }).click();
    await page.getByText("1.1.0 handles it").waitFor();
    await shot(page, `poison${end}`);
  }
  const stop = [load(node), judged(node)];
  for (const [theme, end] of themes) {
    const page = await open(t, b, { ...size, theme });
    await page.goto(`${node.url}/projections?of=changes&prefix=service/history/`);
    await page.getByPlaceholder(/A query/).fill('{"n":2}');
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await page.getByText("answered from position").waitFor();
    await page.locator(".fresh").filter({ visible: true }).first().waitFor();
    await shot(page, `projections${end}`);
    await take(page, `${node.url}/plugins/baskets`, `validator${end}`, "If it fails", 12_000);
    if (theme === "light") await take(page, `${node.url}/plugins`, "plugins", "Validators", 12_000);
  }
  for (const end of stop) await end();
});

test("a picture of a ring", async (t) => {
  const nodes = await startRing(t);
  if (nodes === undefined) return t.skip("no PostgreSQL");
  const node = Object.assign(new Node(), { url: nodes[0].url });
  await node.run(["import", "-"], history);
  const page = await open(t, await browser(t), { ...size, height: 580, scale: 0.9 });
  const stop = load(node);
  await take(page, `${nodes[0].url}/cluster`, "cluster", "as each node sees the others", 8000);
  await stop();
});
