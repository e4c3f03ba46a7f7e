// The list of streams, and what led to an event and what that caused.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { barriers, browser, Node, open, screens } from "./node.mjs";

async function append(node, stream, ...events) {
  const answer = await fetch(`${node.url}/v1/streams/${stream}/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(events),
  });
  assert.equal(answer.ok, true, await answer.text());
}

const names = (page) => page.getByRole("table").locator("a.main").allInnerTexts();

/** Waits until the table lists some streams, in their order. */
async function listed(page, ...wanted) {
  await page.waitForFunction(
    (wanted) => [...document.querySelectorAll("tbody a.main")].map((a) => a.textContent.trim()).join() === wanted,
    wanted.join(),
  );
}

test("streams are listed in each order, by category, by prefix and by pattern", async (t) => {
  const node = await Node.start(t);
  for (const stream of ["cart-2", "order-2", "cart-1", "order-1"])
    await append(node, stream, { type: "Made", data: 1 });
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams`);
  const facets = page.getByRole("complementary", { name: "What there is" });
  await facets.getByRole("link", { name: "cart 2" }).waitFor(); // they are counted in the background
  await listed(page, "order-1", "cart-1", "order-2", "cart-2");
  await page.getByText("Made").nth(4).waitFor(); // the type of the newest event
  assert.deepEqual(await barriers(page), []);

  await append(node, "cart-2", { type: "Paid", data: 2 });
  await page.getByRole("button", { name: "1 new event" }).click();
  await listed(page, "cart-2", "order-1", "cart-1", "order-2");
  const row = page.locator("tr[data-row]").first();
  assert.match(await row.innerText(), /cart-2\s+live\s+2\s+2\s/);
  const order = page.getByRole("group", { name: "In the order of" });
  await order.getByRole("link", { name: "Changed" }).click();
  await listed(page, "order-2", "cart-1", "order-1", "cart-2");
  await page.getByRole("columnheader", { name: "Changed" }).and(page.locator("[aria-sort=ascending]")).waitFor();
  await order.getByRole("link", { name: "Created" }).click();
  await listed(page, "order-1", "cart-1", "order-2", "cart-2");
  await order.getByRole("link", { name: "Name" }).click();
  await listed(page, "cart-1", "cart-2", "order-1", "order-2");
  await order.getByRole("link", { name: "Name" }).click();
  await listed(page, "order-2", "order-1", "cart-2", "cart-1");
  assert.equal(new URL(page.url()).search, "?sort=name&desc=true");
  await page.goBack();
  await listed(page, "cart-1", "cart-2", "order-1", "order-2");

  await page.goto(`${node.url}/streams`);
  await facets.getByRole("link", { name: "cart 2" }).click();
  await listed(page, "cart-1", "cart-2"); // by name, so that it is found however old it is
  assert.equal(new URL(page.url()).search, "?name=cart-");
  await order.getByRole("link", { name: "Changed" }).click();
  await listed(page, "cart-2", "cart-1");
  await page.getByLabel("Filter streams").fill("*r*-2");
  await listed(page, "cart-2", "order-2");
  await page.getByLabel("Filter streams").fill("*-9");
  await page.getByText("No stream matches *-9").waitFor();
  await facets.getByRole("link", { name: "Clear" }).click();
  await listed(page, "cart-2", "order-1", "cart-1", "order-2");

  await facets.getByRole("link", { name: "Paid 1" }).click();
  await page.getByText("Waiting for the next event").waitFor();
  assert.equal(new URL(page.url()).pathname, "/tail");
  assert.deepEqual(page.problems, []);
});

test("a search that no index serves says how far it looked, and goes on", async (t) => {
  const node = await Node.start(t);
  const name = (i) => `order-${String(i).padStart(5, "0")}${i === 24_999 ? "-eu" : ""}`;
  const lines = Array.from({ length: 25_000 }, (_, i) => `{"stream":"${name(i)}","type":"T","data":${i}}\n`);
  await node.run(["import", "-"], lines.join(""));
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams?name=*-eu`);
  await page.getByText("0 streams so far, among the first 20,000 names").waitFor();
  assert.deepEqual(await barriers(page), []);
  await page.getByRole("button", { name: "Look further" }).click();
  await listed(page, "order-24999-eu");
  await page.getByText("so far").waitFor({ state: "detached" });
  await page.locator(".head").getByText("1", { exact: true }).waitFor();
  await page.getByLabel("Filter streams").fill("");
  await page.locator(".head").getByText("25,000", { exact: true }).waitFor();
  assert.equal(await names(page).then((all) => all[0]), "order-24999-eu"); // it changed last
  assert.deepEqual(page.problems, []);
});

test("a long stream is scrolled to its end, and back to its beginning", async (t) => {
  const node = await Node.start(t);
  const lines = Array.from({ length: 7000 }, (_, i) => `{"stream":"long","type":"Counted","data":{"n":${i + 1}}}\n`);
  await node.run(["import", "-"], lines.join(""));
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams/long`);
  const rows = page.locator("tr[data-row]");
  const row = (version) => rows.filter({ has: page.getByText(version, { exact: true }) }).filter({ visible: true });
  await row("7,000").waitFor();
  while ((await row("1").count()) === 0) {
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
  await row("1").getByText('{"n":1}').waitFor();
  assert.equal(await row("1").getAttribute("aria-rowindex"), "7000");
  await page.evaluate(() => scrollTo(0, 0));
  await row("7,000").waitFor();
  assert.equal(await rows.first().getAttribute("aria-rowindex"), "1");
  await append(node, "long", { type: "Counted", data: { n: 7001 } });
  await row("7,001").waitFor();
  assert.deepEqual(page.problems, []);
});

test("an event shows what led to it, and what it caused", async (t) => {
  const node = await Node.start(t);
  const [placed, repriced] = [randomUUID(), randomUUID()];
  const metadata = (cause) => ({ correlation_id: "shop", ...(cause && { causation_id: cause }) });
  await append(node, "order-1", { id: placed, type: "OrderPlaced", data: 1, metadata: metadata() });
  await append(node, "payment-1", { type: "PaymentAuthorized", data: 1, metadata: metadata(placed) });
  await append(node, "order-1", { id: repriced, type: "OrderRepriced", data: 2, metadata: metadata(placed) });
  await append(node, "points-1", { type: "PointsGranted", data: 1, metadata: metadata(repriced) });
  await append(node, "other-1", { type: "Unrelated", data: 1 }, { type: "Asked", data: 1, metadata: metadata() });
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams/order-1/2`);
  const graph = page.getByRole("group", { name: "What led to this event, and what it caused" });
  await graph.getByText("PointsGranted").waitFor();
  const texts = await graph.locator("text:not(.g2)").allTextContents();
  assert.deepEqual(texts.map((s) => s.trim()).sort(), [
    "OrderPlaced",
    "OrderRepriced",
    "PaymentAuthorized",
    "PointsGranted",
  ]);
  await page.getByText("1 more event shares this correlation").waitFor();
  assert.deepEqual(await barriers(page), []);
  await page.screenshot({ path: join(screens, "event-graph-light.png") });
  await graph.getByRole("link", { name: "PointsGranted" }).click();
  await page.getByRole("heading", { name: "PointsGranted" }).waitFor();
  assert.equal(new URL(page.url()).pathname, "/streams/points-1/1");
  assert.deepEqual(page.problems, []);
});
