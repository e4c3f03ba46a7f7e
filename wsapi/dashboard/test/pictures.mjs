// Takes the pictures of docs/dashboard.md, of real nodes with the history of examples/: it is run by
// node test/run.mjs --pictures. Without PostgreSQL that of the ring stays as it is.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { browser, Node, open } from "./node.mjs";
import { startRing } from "./ring.mjs";

const root = join(import.meta.dirname, "../../..");
const size = { width: 1200, height: 640 };
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
  await new Promise((done) => setTimeout(done, settle));
  await page.screenshot({ path: join(root, "docs/dashboard", `${name}.png`) });
}

/** Appends the history again and again, as other streams, until it is stopped. */
function load(node) {
  const stop = new AbortController();
  const done = (async () => {
    const lines = history.trim().split("\n");
    for (let i = 0; !stop.signal.aborted; i++) {
      const { stream, type, data } = JSON.parse(lines[i % lines.length]);
      const path = `/v1/streams/${encodeURIComponent(stream)}/events`;
      await call(node, "POST", path, "application/json", JSON.stringify({ type, data }));
      await new Promise((next) => setTimeout(next, i % 50 < 25 ? 4 : 9));
    }
  })();
  return () => {
    stop.abort();
    return done;
  };
}

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
  await take(light, `${node.url}/streams`, "streams", "Last written");
  await take(light, node.url + event, "event", "Changed since version 8");
  await light.setViewportSize({ ...size, height: 560 });
  await take(light, `${node.url}/tail`, "tail", "Arriving", 12_000);
  await take(light, `${node.url}/subscriptions`, "subscriptions", "search-index", 4000);
  await take(light, `${node.url}/plugins`, "plugins", "directories", 4000);
  const dark = await open(t, b, { ...size, theme: "dark" });
  await take(dark, node.url, "overview-dark", "Written just now", 25_000);
  await take(dark, node.url + event, "event-dark", "Changed since version 8");
  await stop();
});

test("a picture of a ring", async (t) => {
  const nodes = await startRing(t);
  if (nodes === undefined) return t.skip("no PostgreSQL");
  const page = await open(t, await browser(t), { ...size, height: 580 });
  await take(page, `${nodes[0].url}/cluster`, "cluster", "as each node sees the others", 6000);
});
