// From an empty store to events and a plugin, with two clicks.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { browser, Node, open, screens } from "./node.mjs";

test("an empty store begins with sample data and a sample plugin", async (t) => {
  const node = await Node.start(t);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/`);
  await page.getByText("Waiting for the first event").waitFor();
  await page.screenshot({ path: join(screens, "start-light.png") });

  await page.getByRole("button", { name: "Import" }).click();
  await page.getByText("The sample data are there").waitFor();
  await page.getByText("Written just now").waitFor();
  const { head } = await (await fetch(`${node.url}/v1/server`)).json();
  assert.ok(head >= 2000, `${head}`);

  await page.goto(`${node.url}/start`);
  await page.getByRole("button", { name: "Import" }).click(); // a second time nothing is written
  await page.getByText("The sample data are there").waitFor();
  assert.equal((await (await fetch(`${node.url}/v1/server`)).json()).head, head);

  await page.goto(`${node.url}/start`);
  await page.getByRole("button", { name: "Deploy" }).click();
  await page.getByText("The sample plugin runs").waitFor({ timeout: 60_000 });
  const plugin = await (await fetch(`${node.url}/v1/plugins/directories`)).json();
  assert.equal(plugin.kind, "projection");
  assert.deepEqual(page.problems, []);
});

test("the first event from elsewhere ends the wait", async (t) => {
  const node = await Node.start(t);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/`);
  await page.getByText("Waiting for the first event").waitFor();
  await node.run(["append", "order-1", "OrderPlaced", '{"total":10}', "--expect", "0"]);
  await page.getByText("Written just now").waitFor();
  assert.deepEqual(page.problems, []);
});
