// The events of $all that are selected.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { barriers, browser, Node, open, phone, screens } from "./node.mjs";

/** Waits until the table lists the events at some positions. */
async function listed(page, ...positions) {
  await page.waitForFunction(
    (wanted) =>
      [...document.querySelectorAll("tr[data-row] td:first-child")].map((c) => c.textContent).join() === wanted,
    positions.join(),
  );
}

test("events of $all are selected by each field, in both directions", async (t) => {
  const node = await Node.start(t);
  const lines = [
    ["order-1", "OrderPlaced", "2026-01-01T00:00:00Z", "c-1"],
    ["invoice-1", "InvoiceSent", "2026-01-02T00:00:00Z", "c-1"],
    ["order-2", "OrderPlaced", "2026-01-03T00:00:00Z", "c-2"],
    ["order-1", "OrderPaid", "2026-01-04T00:00:00Z", "c-1"],
  ].map(([stream, type, time, correlation_id]) =>
    JSON.stringify({ stream, type, time, data: {}, metadata: { correlation_id } }),
  );
  await node.run(["import", "-"], lines.join("\n"));
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams`);
  await page.getByRole("link", { name: "All events" }).click();
  await listed(page, 4, 3, 2, 1);
  assert.deepEqual(await barriers(page), []);
  await page.screenshot({ path: join(screens, "all-light.png") });
  await phone(page, "all");
  await page.getByRole("link", { name: "Oldest first" }).click();
  await listed(page, 1, 2, 3, 4);
  const select = async (fields, ...positions) => {
    const clear = page.getByRole("link", { name: "Clear" });
    if (await clear.count()) await clear.click();
    for (const [label, value] of Object.entries(fields)) await page.getByLabel(label).fill(value);
    await page.getByRole("button", { name: "Select" }).click();
    await listed(page, ...positions);
  };
  await page.addInitScript(() => localStorage.setItem("gyre-times", "utc"));
  await page.reload();
  await select({ Category: "order" }, 1, 3, 4);
  await select({ Types: "OrderPaid, Invoice*" }, 2, 4);
  await select({ Streams: "*-1", Category: "order" }, 1, 4);
  await select({ Since: "2026-01-02T00:00:00", Until: "2026-01-04T00:00:00" }, 2, 3);
  assert.equal(new URL(page.url()).searchParams.get("since"), "2026-01-02T00:00:00.000Z");
  await select({ "Correlation id": "c-1" }, 1, 2, 4);
  assert.equal(new URL(page.url()).search, "?order=oldest&correlation=c-1");
  await page.reload();
  await listed(page, 1, 2, 4);
  await page.goBack();
  await listed(page, 1, 2, 3, 4);

  await page.goto(`${node.url}/streams/order-1/2`);
  await page.getByRole("link", { name: "c-1" }).click();
  await listed(page, 4, 2, 1);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.locator("h1:focus", { hasText: "OrderPaid" }).waitFor();
  await page.goto(`${node.url}/streams/order-1`);
  await page.getByRole("link", { name: "order", exact: true }).click();
  await listed(page, 4, 3, 1);
  await page.keyboard.press("/");
  await page.keyboard.type("c-2");
  await page.getByRole("option", { name: "Events with correlation id c-2" }).click();
  await listed(page, 3);
  await page.goto(`${node.url}/streams/$all?category=none`);
  await page.getByText("No event is selected").waitFor();
  assert.deepEqual(page.problems, []);
  await page.goto(`${node.url}/streams/$all?since=yesterday`);
  await page
    .getByRole("alert")
    .getByText(/yesterday/)
    .waitFor();
});

test("a selection that no index serves says how far it looked, and goes on", async (t) => {
  const node = await Node.start(t);
  const lines = Array.from({ length: 150_000 }, (_, i) => `{"stream":"s","type":"T","data":${i}}\n`);
  await node.run(["import", "-"], lines.join(""));
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams/$all?correlation=c-1`);
  await page.getByText(/^0 events so far, among [\d,]+ positions, up to [\d,]+/).waitFor();
  assert.deepEqual(await barriers(page), []);
  while ((await page.getByText("No event is selected").count()) === 0) {
    const said = await page.getByText(/so far, among/).textContent();
    await page.getByRole("button", { name: "Look further" }).click();
    await page.waitForFunction((said) => !document.querySelector("main").textContent.includes(said), said);
  }
  await page.getByText("None of the 150,000 positions").waitFor();
  // So many events are kept; the list goes on elsewhere.
  await page.goto(`${node.url}/streams/$all?order=oldest`);
  const last = page.getByRole("link", { name: "Go on from position 10,001" });
  while ((await last.count()) === 0) {
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
  await last.click();
  await page.locator("tr[data-row]").getByText("10,001", { exact: true }).waitFor();
  assert.deepEqual(page.problems, []);
});
