// Each page once, on one node without keys.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { barriers, browser, Node, open, screens, words } from "./node.mjs";

/** The pages, what each must show before it is looked at, and a name for its picture. */
const pages = [
  ["overview", "/", "Written just now"],
  ["start", "/start", "Or begin with something"],
  ["streams", "/streams", "order-1"],
  ["stream", "/streams/order-1", "OrderPaid"],
  ["snapshots", "/streams/order-1?view=snapshots", "up to date"],
  ["retention", "/retention", "Truncate before"],
  ["all", "/streams/$all", "OrderPlaced"],
  ["event", "/streams/order-1/2", "Changed since version 1"],
  ["tail", "/tail", "Waiting for the next event"],
  ["subscriptions", "/subscriptions", "mail"],
  ["subscription", "/subscriptions/mail", "Consumers"],
  ["no-ring", "/cluster", "This node is in no ring"],
  ["access", "/access", "This store has no keys"],
  ["settings", "/settings", "admin-key-file"],
  ["plugins", "/plugins", "Lately"],
  ["plugin", "/plugins/words", "Time per batch"],
  ["plugin-versions", "/plugins/words?view=versions", "Verification report"],
  ["plugin-logs", "/plugins/words?view=logs", " words"],
  ["plugin-parked-none", "/plugins/words?view=parked", "Nothing is parked"],
  ["plugin-settings", "/plugins/words?view=settings", "What it asks for"],
  ["plugin-upload", "/upload", "Nothing runs until you deploy it"],
  ["projections", "/projections", "Ask for it"],
  ["missing", "/nothing", "There is no such page"],
];

/** A plugin that has state and a log. */
async function deployWords(node) {
  const send = async (method, path, type, body) => {
    const answer = await fetch(`${node.url}/v1/plugins/words${path}`, {
      method,
      headers: { "content-type": type },
      body,
    });
    assert.ok(answer.ok, await answer.text());
  };
  await send("PUT", "/versions/1.0.0", "application/wasm", words({}));
  await send("POST", "/deploy", "application/json", '{"version":"1.0.0","grants":["state"]}');
}

test("each page shows what it is for", async (t) => {
  const node = await Node.start(t);
  await node.run(["append", "order-1", "OrderPlaced", '{"total":9007199254740993}']);
  await node.run(["append", "order-1", "OrderPaid", '{"total":9007199254740993,"paid":true}']);
  await node.run(["streams", "retention", "order-1", "--max-count", "100"]);
  await node.run(["snapshot", "put", "order-1", "2", '{"paid":true}']);
  await node.run(["subscriptions", "create", "mail"]);
  await deployWords(node);
  const b = await browser(t);
  for (const theme of ["light", "dark"]) {
    const page = await open(t, b, { theme });
    for (const [name, path, text] of pages) {
      await page.goto(node.url + path);
      await page.getByText(text, { exact: false }).first().waitFor();
      await page.screenshot({ path: join(screens, `${name}-${theme}.png`) });
      assert.deepEqual(await barriers(page), [], `${name}, ${theme}`);
      assert.deepEqual(page.problems, [], `${name}, ${theme}`);
    }
    assert.ok(await page.goto(`${node.url}/streams/order-1/1`));
    await page.getByText("9007199254740993").first().waitFor();
  }
});

test("a page of another origin cannot frame it, and no script is in it", async (t) => {
  const node = await Node.start(t);
  const answer = await fetch(`${node.url}/streams`, { headers: { accept: "text/html" } });
  const policy = answer.headers.get("content-security-policy");
  assert.match(policy, /frame-ancestors 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  assert.doesNotMatch(await answer.text(), /<script>|<style>|style=/);
});

test("the first page is small", async (t) => {
  const node = await Node.start(t);
  await node.run(["append", "order-1", "OrderPlaced", "{}"]);
  const page = await open(t, await browser(t));
  // The code of the page after the first is asked for when the first is there.
  const next = page.waitForRequest(/assets\/Streams-/);
  await page.goto(node.url);
  await next;
  const loaded = await page.evaluate(() =>
    performance.getEntriesByType("resource").map((e) => [new URL(e.name).pathname, e.encodedBodySize]),
  );
  const end = loaded.findIndex(([name]) => name.includes("Streams-"));
  const sizes = loaded.slice(0, end < 0 ? undefined : end).filter(([name]) => name.endsWith(".js"));
  const bytes = sizes.reduce((n, [, size]) => n + size, 0);
  t.diagnostic(`${bytes} bytes of JavaScript in ${sizes.length} files`);
  assert.ok(bytes > 30_000 && bytes < 110_000, `${bytes} bytes: ${JSON.stringify(sizes)}`);
});

test("every page of an insecure node says so", async (t) => {
  const node = await Node.start(t, "--insecure");
  const page = await open(t, await browser(t));
  for (const path of ["/streams", "/settings"]) {
    await page.goto(node.url + path);
    await page.getByText("Whoever reaches this node may read and write everything").waitFor();
  }
  assert.deepEqual(page.problems, []);
});
