// Streams that are deleted, brought back and removed, and their snapshots.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { barriers, browser, Node, open, phone, screens } from "./node.mjs";

const refused = (p) => !/status of (400|403|404|409|410|412|422)/.test(p); // the browser logs what the node refuses

async function status(node, path) {
  return (await fetch(node.url + path)).status;
}

test("a stream is deleted at the version that is seen, and brought back", async (t) => {
  const node = await Node.start(t);
  for (const type of ["OrderPlaced", "OrderPaid"]) await node.run(["append", "order-1", type]);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams/order-1`);
  await page.getByText("OrderPaid").waitFor();
  const dialog = page.getByRole("dialog");
  await page.getByRole("button", { name: "Delete…" }).click();
  assert.equal(await dialog.getByRole("radio").count(), 1); // hard deletes are off
  await node.run(["append", "order-1", "OrderShipped"]);
  await dialog.getByRole("button", { name: "Delete", exact: true }).click();
  await dialog.getByText("The stream is at version 3 now, and was at 2.").waitFor();
  assert.deepEqual(await barriers(page), []);
  assert.equal(await status(node, "/v1/streams/order-1"), 200);
  await page.screenshot({ path: join(screens, "stream-conflict-light.png") });
  await dialog.getByRole("button", { name: "Go on with version 3" }).click();
  await dialog.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("heading", { name: "order-1 is deleted" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Append event" }).count(), 0);
  assert.deepEqual(await barriers(page), []);
  await page.screenshot({ path: join(screens, "stream-deleted-light.png") });
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByText("OrderShipped").waitFor();

  await node.run(["streams", "delete", "order-1"]); // somebody else does
  await page.getByRole("heading", { name: "order-1 is deleted" }).waitFor();
  await page.reload();
  await page.getByText("Its events (3) stay in $all").waitFor();
  await phone(page, "stream-deleted");
  await page.goto(`${node.url}/streams`);
  await page.locator("tr[data-row] .st", { hasText: "deleted" }).waitFor();
  await page.goto(`${node.url}/streams/order-1`);
  await page.getByRole("button", { name: "Undelete" }).click();
  await page.getByText("OrderShipped").waitFor();
  await page.getByText("live").first().waitFor();
  assert.deepEqual(page.problems.filter(refused), []);
});

test("the page of a deleted stream asks for nothing that is refused", async (t) => {
  const node = await Node.start(t);
  await node.run(["append", "order-1", "OrderPlaced"]);
  await node.run(["streams", "delete", "order-1"]);
  const page = await open(t, await browser(t));
  for (const view of ["", "?view=snapshots", "?view=retention"]) {
    const described = page.waitForResponse((r) => new URL(r.url()).pathname === "/v1/streams");
    await page.goto(`${node.url}/streams/order-1${view}`);
    await page.getByText("Its events (1) stay in $all").waitFor();
    await described;
    await page.waitForLoadState("networkidle");
  }
  assert.deepEqual(page.problems, []);
});

test("events are removed for good once the name is typed, and a tombstone stays", async (t) => {
  const node = await Node.start(t, "--hard-deletes");
  for (const type of ["OrderPlaced", "OrderPaid"]) await node.run(["append", "order-1", type]);
  const page = await open(t, await browser(t));
  const dialog = page.getByRole("dialog");
  const choose = async (way) => {
    await page.getByRole("button", { name: "Delete…" }).click();
    await dialog.getByRole("radio", { name: way }).check();
  };
  await page.goto(`${node.url}/streams/order-1`);
  await page.getByText("OrderPaid").waitFor();
  await choose(/^Remove/);
  await dialog.getByText("2 events, links to them and snapshots leave the log. The next").waitFor();
  const remove = dialog.getByRole("button", { name: "Remove the events" });
  assert.equal(await remove.isDisabled(), true);
  assert.deepEqual(await barriers(page), []);
  await phone(page, "stream-delete");
  await page.screenshot({ path: join(screens, "stream-delete-light.png") });
  await dialog.getByLabel("Type order-1 to go on").fill("order-1");
  await remove.click();
  await page.getByRole("heading", { name: 'stream "order-1" has no events' }).waitFor();
  await node.run(["append", "order-1", "OrderAgain"]);
  await page.getByText("OrderAgain").waitFor(); // it begins anew, before the eyes of the reader

  await choose(/^Tombstone/);
  await dialog.getByLabel("Type order-1 to go on").fill("order-1");
  await dialog.getByRole("button", { name: "Tombstone" }).click();
  await page.getByRole("heading", { name: "order-1 is tombstoned" }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "order-1 is tombstoned" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Append event" }).count(), 0);

  // A stream of links to what was removed has a version, and no event.
  await node.run(["append", "order-2", "OrderPlaced"]);
  const { events } = await (await fetch(`${node.url}/v1/streams/order-2/events`)).json();
  const linked = await fetch(`${node.url}/v1/streams/links/links`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ links: events.map((e) => e.id) }),
  });
  assert.ok(linked.ok, await linked.text());
  await node.run(["streams", "delete", "order-2", "--hard", "--yes"]);
  await page.goto(`${node.url}/streams/links`);
  await page.getByText("No event is left").waitFor();
  await page.getByText("links is at version 1").waitFor();

  // The lists of streams by state.
  for (const name of ["cart-1", "cart-2"]) await node.run(["append", name, "Made"]);
  await node.run(["streams", "delete", "cart-1"]);
  const inState = page.getByRole("group", { name: "In the state" });
  for (const [state, search, names] of [
    ["All", "", ["cart-2", "cart-1"]], // links has no place in this order
    ["Tombstoned", "?state=tombstoned", ["order-1"]],
    ["Deleted", "?state=deleted", ["cart-1"]],
    ["Live", "?state=live", ["cart-2"]],
  ]) {
    if (state === "All") await page.goto(`${node.url}/streams`);
    else await inState.getByRole("link", { name: state }).click();
    await page.waitForFunction(
      (wanted) => [...document.querySelectorAll("tbody a.main")].map((a) => a.textContent.trim()).join() === wanted,
      names.join(),
    );
    assert.equal(new URL(page.url()).search, search);
    assert.deepEqual(await barriers(page), [], state);
  }
  assert.deepEqual(page.problems.filter(refused), []);
});

test("snapshots are listed with how far they are behind, looked at, and deleted", async (t) => {
  const node = await Node.start(t);
  for (const type of ["OrderPlaced", "OrderPaid", "OrderShipped"]) await node.run(["append", "order-1", type]);
  const put = async (kind, body) => {
    const answer = await fetch(`${node.url}/v1/streams/order-1/snapshots/${kind}`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body,
    });
    assert.ok(answer.ok, await answer.text());
  };
  await put("default", '{"version":1,"type":"Order","data":{"total":9007199254740993},"metadata":{"by":"me"}}');
  await put("raw", '{"version":3,"dataBase64":"AP8="}');
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams/order-1`);
  await page.getByRole("link", { name: "Snapshots 2" }).click();
  await page.getByText("9007199254740993").waitFor();
  await page.getByText("2 events behind").waitFor();
  assert.match(await page.locator("tr[data-row]").first().innerText(), /default\s+1\s+2\s+Order\s+\d+ B\s/);
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    await page.reload();
    await page.getByText("9007199254740993").waitFor();
    assert.deepEqual(await barriers(page), [], theme);
    await page.screenshot({ path: join(screens, `stream-snapshots-${theme}.png`) });
  }
  await phone(page, "stream-snapshots");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByText("00 ff").waitFor();
  assert.equal(new URL(page.url()).search, "?view=snapshots&kind=raw");
  await page.getByText("up to date").waitFor();
  await page.getByRole("main").getByRole("button", { name: "Delete…" }).last().click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("There is no snapshot raw").waitFor();
  await page.getByRole("link", { name: "default" }).click();
  await page.getByText("9007199254740993").waitFor();
  await page.goBack();
  await page.getByText("There is no snapshot raw").waitFor();
  assert.deepEqual(page.problems, []);
});

test("a scavenge is tried, started, and says what it gave back", async (t) => {
  const node = await Node.start(t, "--hard-deletes");
  for (const name of ["order-1", "order-2"]) await node.run(["append", name, "OrderPlaced", '{"total":10}']);
  await node.run(["streams", "delete", "order-1", "--hard", "--yes"]);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/settings`);
  const panel = page.locator("section", { has: page.getByRole("heading", { name: "Scavenge" }) });
  await panel.getByText("It gives back the storage").waitFor();
  await panel.getByLabel("All of the log").check();
  await panel.getByRole("button", { name: "Dry run" }).click();
  await panel.getByText("dry run, done").waitFor();
  assert.match(await panel.innerText(), /Events that would go\s+1\s/);
  assert.deepEqual(await barriers(page), []);
  await panel.scrollIntoViewIfNeeded();
  await page.screenshot({ path: join(screens, "scavenge-light.png") });
  await panel.getByRole("button", { name: "Start…" }).click();
  await page
    .getByRole("dialog")
    .getByText(/^1 events go, and/)
    .waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Start" }).click();
  await panel.getByText("Events gone").waitFor();
  await panel.getByText(/^done$/).waitFor();
  assert.match(await panel.innerText(), /Events gone\s+1\s/);
  assert.deepEqual(page.problems, []);
});

test("a scavenge that runs shows how far it is, is stopped, and goes on", async (t) => {
  const node = await Node.start(t, "--hard-deletes");
  const lines = Array.from(
    { length: 20_000 },
    (_, i) => `{"stream":"s-${i % 2}","type":"T","data":"${"x".repeat(400)}"}\n`,
  );
  await node.run(["import", "-"], lines.join(""));
  await node.run(["streams", "delete", "s-1", "--hard", "--yes"]);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/settings`);
  const panel = page.locator("section", { has: page.getByRole("heading", { name: "Scavenge" }) });
  await panel.getByLabel("All of the log").check();
  await panel.getByLabel("At most").fill("0.1");
  await panel.getByRole("button", { name: "Start…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Start" }).click();
  await panel.getByText(/^running, \d+ %$/).waitFor();
  assert.deepEqual(await barriers(page), []);
  await page.screenshot({ path: join(screens, "scavenge-running-light.png") });
  await panel.getByRole("button", { name: "Stop" }).click();
  await panel.getByText(/^stopped$/).waitFor();
  await panel.getByLabel("At most").fill("");
  await panel.getByRole("button", { name: "Go on…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Go on" }).click();
  await panel.getByText(/^done$/).waitFor();
  assert.match(await panel.innerText(), /Events gone\s+10,000\s/);
  assert.deepEqual(page.problems, []);
});

test("retention is shown as it is in effect, and set for a stream and its category", async (t) => {
  const node = await Node.start(t);
  for (const type of ["OrderPlaced", "OrderPaid", "OrderShipped"]) await node.run(["append", "order-1", type]);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams/order-1`);
  await page.getByRole("link", { name: "Retention" }).click();
  await page.getByText("Nothing of this stream expires").waitFor();
  const dialog = page.getByRole("dialog");
  const set = async (heading, fields) => {
    const section = page.locator("section", { has: page.getByRole("heading", { name: heading }) });
    await section.getByRole("button", { name: "Edit…" }).click();
    for (const [label, value] of Object.entries(fields)) await dialog.getByLabel(label).fill(value);
    await dialog.getByRole("button", { name: "Set" }).click();
  };
  const effect = page.locator("section", { has: page.getByRole("heading", { name: "In effect" }) });
  await set("Default of category order", { "Maximum age": "30d" });
  await effect.getByText("30d").waitFor();
  await set("Of this stream", { "Maximum count": "2" });
  await effect.getByText("2 of 3 versions can be read").waitFor();
  assert.deepEqual(await barriers(page), []);
  await page.screenshot({ path: join(screens, "stream-retention-light.png") });
  await phone(page, "stream-retention");
  await set("Of this stream", { "Truncate before version": "9" });
  await dialog.getByRole("alert").waitFor(); // the stream has not reached it
  assert.deepEqual(await barriers(page), []);
  await dialog.getByLabel("Truncate before version").fill("4");
  await dialog.getByRole("button", { name: "Set" }).click();
  await effect.getByText("0 of 3 versions can be read").waitFor();
  await page.goto(`${node.url}/streams/order-1`);
  await page.getByText("No event is left").waitFor();
  assert.deepEqual(page.problems.filter(refused), []);
});

test("a stream says which versions have expired", async (t) => {
  const node = await Node.start(t);
  const lines = Array.from({ length: 1000 }, (_, i) => `{"stream":"order-1","type":"Counted","data":${i + 1}}\n`);
  await node.run(["import", "-"], lines.join(""));
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams/order-1`);
  await page
    .getByRole("link", { name: "1,000" })
    .or(page.getByText("1,000", { exact: true }))
    .first()
    .waitFor();
  await node.run(["streams", "retention", "order-1", "--max-count", "10"]);
  await page.getByText("begins at version 991").waitFor(); // before the eyes of the reader
  await page.waitForFunction(() => document.querySelectorAll("tr[data-row]").length === 10);
  await page.reload();
  await page.getByText("Versions 1–990 have expired or been removed").waitFor();
  assert.equal(await page.getByRole("table").getAttribute("aria-rowcount"), "10");
  assert.deepEqual(await barriers(page), []);
  await page.screenshot({ path: join(screens, "stream-expired-light.png") });
  await phone(page, "stream-expired");
  await page.goto(`${node.url}/streams/order-1/991`);
  await page.getByText("Version 990 has expired or was removed").waitFor();
  assert.deepEqual(page.problems, []);
});

test("policies of retention are listed, changed and cleared", async (t) => {
  const node = await Node.start(t);
  for (const type of ["OrderPlaced", "OrderPaid", "OrderShipped"]) await node.run(["append", "order-1", type]);
  await node.run(["append", "cart-1", "CartMade"]);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/streams`);
  await page.getByRole("link", { name: "Retention" }).click();
  await page.getByText("Nothing expires").waitFor();
  await node.run(["streams", "retention", "--category", "order", "--max-age", "30d"]);
  await node.run(["streams", "retention", "order-1", "--max-count", "2", "--truncate-before", "2"]);
  await node.run(["streams", "retention", "cart-1", "--max-count", "7"]);
  const row = (name) => page.locator("tr[data-row]", { has: page.getByRole("link", { name, exact: true }) });
  await row("cart-1").waitFor();
  assert.match(await row("order").innerText(), /^order\s+category\s+30d\s+–\s+–\s/);
  assert.match(await row("order-1").innerText(), /^order-1\s+stream\s+–\s+2\s+2\s/);
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    await page.reload();
    await row("cart-1").waitFor();
    assert.deepEqual(await barriers(page), [], theme);
    await page.screenshot({ path: join(screens, `retention-${theme}.png`) });
  }
  await phone(page, "retention");
  const dialog = page.getByRole("dialog");
  const clear = async (where) => {
    await where.getByRole("button", { name: "Clear…" }).click();
    await dialog.getByRole("button", { name: "Clear", exact: true }).click();
  };
  await clear(row("cart-1"));
  await row("cart-1").waitFor({ state: "detached" });
  await row("order").getByRole("button", { name: "Edit…" }).click();
  await dialog.getByLabel("Maximum age").fill("2h");
  await dialog.getByRole("button", { name: "Set" }).click();
  await row("order").getByText("2h", { exact: true }).waitFor();
  await page.getByLabel("Filter policies").fill("category o");
  await row("order-1").waitFor({ state: "detached" });
  await page.getByLabel("Filter policies").fill("");

  await row("order-1").getByRole("link").click();
  const effect = page.locator("section", { has: page.getByRole("heading", { name: "In effect" }) });
  await effect.getByText("2h").waitFor();
  const section = (heading) => page.locator("section", { has: page.getByRole("heading", { name: heading }) });
  await section("Of this stream").getByRole("button", { name: "Clear…" }).click();
  await dialog.getByText("Versions before 2 stay truncated").waitFor();
  await dialog.getByRole("button", { name: "Clear", exact: true }).click();
  await section("Of this stream").getByRole("button", { name: "Clear…" }).waitFor({ state: "detached" });
  await clear(section("Default of category order"));
  await effect.getByText("2h").waitFor({ state: "detached" });
  await effect.getByText("2 of 3 versions can be read").waitFor();
  await page.goto(`${node.url}/retention`);
  await row("order-1").waitFor();
  assert.equal(await page.locator("tr[data-row]").count(), 1); // what it truncates never comes back
  assert.equal(await page.getByRole("button", { name: "Clear…" }).count(), 0);
  assert.deepEqual(page.problems, []);
});
