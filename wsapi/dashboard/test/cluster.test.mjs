// The page of a ring of three: what it shows, drain, and nodes that go and come back.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { barriers, browser, open, screens } from "./node.mjs";
import { startRing } from "./ring.mjs";

const patience = 30_000;

/** Appends to streams, so that each node owns some that are in use. */
async function fill(node, streams) {
  for (let n = 1; n <= streams; n++) {
    const answer = await fetch(`${node.url}/v1/streams/order-${n}/events`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ type: "OrderPlaced", data: { n } }),
    });
    assert.equal(answer.ok, true, await answer.text());
  }
}

/** The row of a node in the table of nodes. */
const row = (page, node) =>
  page.getByRole("table", { name: "Nodes of the ring" }).getByRole("row", { name: node.name });
const ring = (page) => page.locator("main svg.ring");
const arcs = (page, n) =>
  page.waitForFunction((n) => document.querySelectorAll("main .ring .band").length === n, n, { timeout: patience });

test("a ring is seen and steered", async (t) => {
  const nodes = await startRing(t);
  if (nodes === undefined) {
    t.skip("PostgreSQL is missing");
    return;
  }
  const [one, two, three] = nodes;
  await fill(one, 12);
  const b = await browser(t);
  const page = await open(t, b);

  await t.test("it shows who owns what, as each node sees it", async () => {
    await page.goto(`${one.url}/cluster?name=order-1`);
    await arcs(page, 3);
    for (const node of nodes) await row(page, node).getByText("serving").waitFor();
    const sight = page.getByRole("table", { name: "What each node says about each other" });
    await sight.getByText("alive").nth(5).waitFor();
    assert.match(await ring(page).getAttribute("aria-label"), /^The ring: node1@.* owns 1,\d{3} slots, node2@/);
    await page.getByRole("status").getByText("slot 954").waitFor();
    await page.getByText("of 3", { exact: false }).first().waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.screenshot({ path: join(screens, "cluster-light.png") });
    assert.deepEqual(page.problems, []);
  });

  await t.test("a drain counts what moves, and is undone", async () => {
    await row(page, two).getByRole("button", { name: "Drain" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText(/Its 1,\d{3} of 4,096 slots, with \d+ streams and 0 subscriptions/).waitFor();
    assert.deepEqual(await barriers(page), []);
    await dialog.getByRole("button", { name: "Drain" }).click();
    await row(page, two).getByText("drained").waitFor({ timeout: patience });
    await arcs(page, 2);
    await page.getByRole("table", { name: "History of views" }).getByText("node2 drains").waitFor();
    await row(page, two).getByRole("button", { name: "Undrain" }).click();
    await arcs(page, 3);
    await row(page, two).getByText("serving").waitFor({ timeout: patience });
    assert.deepEqual(page.problems, []);
  });

  await t.test("the settings of each node are there", async () => {
    await page.goto(`${one.url}/settings`);
    await page.getByRole("link", { name: "node3" }).click();
    await page.getByText(new URL(three.url).host).first().waitFor();
    assert.deepEqual(page.problems, []);
  });

  await t.test("the ring is drawn anew when a node dies, and as an outline below quorum", async (t) => {
    await page.goto(`${one.url}/cluster`);
    await arcs(page, 3);
    process.kill(three.pid, "SIGKILL");
    await arcs(page, 2);
    await page
      .getByRole("table", { name: "History of views" })
      .getByText(/node3 (is|does|has)/)
      .first()
      .waitFor();

    process.kill(two.pid, "SIGSTOP");
    t.after(() => process.kill(two.pid, "SIGCONT"));
    await page.getByText("The ring has no quorum.").waitFor({ timeout: patience });
    assert.equal(await ring(page).locator(".band").count(), 0);
    assert.equal(await ring(page).locator(".off").count(), 2);
    await page.screenshot({ path: join(screens, "cluster-no-quorum-light.png") });
    assert.deepEqual(await barriers(page), []);

    process.kill(two.pid, "SIGCONT");
    await arcs(page, 2);
    await page.getByText("The ring has no quorum.").waitFor({ state: "detached", timeout: patience });
  });
});
