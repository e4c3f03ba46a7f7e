// What people's hands know: keys, the back button, links, a narrow window, a node that is away.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { barriers, browser, Node, open, phone, screens } from "./node.mjs";

async function stocked(t) {
  const node = await Node.start(t);
  for (const n of [1, 2, 3]) await node.run(["append", `order-${n}`, "OrderPlaced", `{"total":${n}}`]);
  await node.run(["subscriptions", "create", "orders"]);
  return node;
}

const focused = (page) => page.evaluate(() => document.activeElement.textContent.trim());
const path = (page) => page.evaluate(() => location.pathname + location.search);

test("each page is reached by keys, and says so to a screen reader", async (t) => {
  const node = await stocked(t);
  const page = await open(t, await browser(t));
  await page.goto(node.url);
  await page.getByText("Written just now").waitFor();
  for (const [key, heading] of [
    ["s", "Streams"],
    ["t", "Live tail"],
    ["u", "Subscriptions"],
    ["p", "Plugins"],
    ["j", "Projections"],
    ["e", "Settings"],
    ["o", "Overview"],
  ]) {
    await page.keyboard.press("g");
    await page.keyboard.press(key);
    await page.locator("h1:focus", { hasText: heading }).waitFor();
    assert.equal(await page.title(), `${heading} · Gyre`);
  }
  assert.deepEqual(page.problems, []);
});

test("rows are walked and opened by keys, and Esc goes out again", async (t) => {
  const node = await stocked(t);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams?sort=name`);
  await page.getByText("order-3").first().waitFor();
  for (const key of ["j", "j", "j", "k"]) await page.keyboard.press(key);
  await page.locator("tr[aria-current]", { hasText: "order-2" }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator("h1:focus", { hasText: "order-2" }).waitFor();
  await page.locator("tbody a").first().waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.locator("h1:focus", { hasText: "OrderPlaced" }).waitFor();
  assert.equal(await path(page), "/streams/order-2/1");
  await page.keyboard.press("Escape");
  await page.locator("h1:focus", { hasText: "order-2" }).waitFor();
  await page.keyboard.press("Escape");
  await page.locator("h1:focus", { hasText: "Streams" }).waitFor();
  await page.keyboard.press("f");
  await page.keyboard.type("order-3"); // no key of it is a shortcut
  await page.waitForURL("**/streams?name=order-3");
  await page.goto(`${node.url}/tail`);
  await page.getByText("Waiting for the next event").waitFor();
  await page.keyboard.press("Space");
  await page.getByText("Paused at").waitFor();
  await page.getByText(/^Paused: the newest shown is/).waitFor({ state: "attached" });
  assert.deepEqual(page.problems, []);
});

test("the palette finds, marks, and takes along what was typed", async (t) => {
  const node = await stocked(t);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/settings`);
  await page.getByText("admin-key-file").first().waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("order");
  await page.getByRole("option", { name: "order-1" }).waitFor();
  await page.getByRole("option", { name: "orders subscription" }).waitFor();
  assert.equal(await page.locator("[role=option] mark").first().textContent(), "order");
  assert.deepEqual(await barriers(page), []);
  await page.screenshot({ path: join(screens, "palette-light.png") });
  await page.getByRole("option", { name: "Streams that begin with order" }).click();
  await page.locator("h1:focus", { hasText: "Streams" }).waitFor();
  assert.equal(await path(page), "/streams?name=order");
  await page.goBack();
  await page.locator("h1:focus", { hasText: "Settings" }).waitFor();
  assert.equal(await path(page), "/settings"); // the palette is not in the way
  await page.keyboard.press("/");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.locator("h1:focus", { hasText: "Streams" }).waitFor();
  assert.deepEqual(page.problems, []);
});

test("the back button closes what opened last, and then leaves the page", async (t) => {
  const node = await stocked(t);
  const page = await open(t, await browser(t));
  const dialogs = page.locator("dialog[open]");
  await page.goto(node.url);
  await page.getByText("Written just now").waitFor();
  await page.locator("nav").getByText("Streams").click();
  await page.locator("h1:focus", { hasText: "Streams" }).waitFor();
  for (const close of [() => page.goBack(), () => page.keyboard.press("Escape")]) {
    await page.keyboard.press("?");
    await page.getByText("next row, row before").waitFor();
    await close();
    await dialogs.waitFor({ state: "detached" });
    await page.waitForFunction(() => history.state === null);
    assert.equal(await path(page), "/streams");
  }
  await page.getByRole("button", { name: "Append event" }).click();
  await dialogs.waitFor();
  await page.goBack();
  await dialogs.waitFor({ state: "detached" });
  await page.goBack();
  await page.locator("h1:focus", { hasText: "Overview" }).waitFor();
  await page.goForward();
  await page.locator("h1:focus", { hasText: "Streams" }).waitFor();
  assert.notEqual(await focused(page), "");
  assert.deepEqual(page.problems, []);
});

test("a phone shows each page whole", async (t) => {
  const node = await stocked(t);
  const page = await open(t, await browser(t), { width: 390, height: 844 });
  for (const [name, address, text] of [
    ["overview", "/", "Written just now"],
    ["streams", "/streams", "order-1"],
    ["stream", "/streams/order-1", "OrderPlaced"],
    ["event", "/streams/order-1/1", "The first event of its stream"],
    ["tail", "/tail", "Waiting for the next event"],
    ["subscriptions", "/subscriptions", "orders"],
    ["subscription", "/subscriptions/orders", "Consumers"],
    ["plugins", "/plugins", "No plugins yet"],
    ["upload", "/upload", "Nothing runs until you deploy it"],
    ["projections", "/projections", "Nothing keeps state yet"],
    ["cluster", "/cluster", "This node is in no ring"],
    ["access", "/access", "This store has no keys"],
    ["settings", "/settings", "admin-key-file"],
    ["start", "/start", "Getting started"],
  ]) {
    await page.goto(node.url + address);
    await page.locator("main").getByText(text).filter({ visible: true }).first().waitFor();
    if (name === "tail") {
      await node.run(["append", "order-1", "OrderPaid", '{"paid":true}']);
      await page.getByText("OrderPaid").first().waitFor();
    }
    await phone(page, name);
  }
  assert.deepEqual(page.problems, []);
});

test("a node that is away is told, with when it is tried again, and that it is back", async (t) => {
  const node = await stocked(t);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams/order-1`);
  await page.locator("tbody a").first().waitFor();
  await node.kill();
  await page.getByText("The node does not answer").waitFor();
  await page.getByText(/again in \d s|trying now/).waitFor();
  assert.equal(await page.locator("main.stale tbody a").count(), 1, "what was shown has gone");
  assert.deepEqual(await barriers(page), []);
  await page.screenshot({ path: join(screens, "away-light.png") });
  await node.start();
  await page.getByRole("button", { name: "Try now" }).click();
  await page.getByText("The node is back").waitFor();
  await page.screenshot({ path: join(screens, "back-light.png") });
  await node.run(["append", "order-1", "OrderPaid", "{}"]);
  await page.getByText(/1 event came meanwhile/).waitFor();
  await page.getByText("OrderPaid").waitFor();
});
