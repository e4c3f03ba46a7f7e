// Keys: log-in, what each role sees, keys that are made and revoked on the page.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { barriers, browser, Node, open, screens } from "./node.mjs";

const everywhere = ["Overview", "Streams", "Live tail", "Settings"];
/** What is in the side bar, by role, with the streams of the key. */
const roles = {
  reader: { streams: ["order-*"], pages: ["Overview", "Streams", "Live tail", "Projections", "Settings"] },
  writer: { streams: ["order-*"], pages: everywhere },
  "plugin-author": { streams: ["order-*"], pages: ["Overview", "Plugins", "Projections", "Settings"] },
  operator: {
    streams: ["$all"],
    pages: ["Overview", "Streams", "Live tail", "Subscriptions", "Plugins", "Projections", "Cluster", "Settings"],
  },
};

/** A node whose store has keys, and the admin's. */
async function withKeys(t) {
  const node = await Node.start(t);
  const call = async (method, path, token, body) => {
    const headers = {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(body && { "content-type": "application/json" }),
    };
    const answer = await fetch(node.url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  };
  await call("POST", "/v1/streams/order-1/events", undefined, { type: "OrderPlaced", data: { total: 10 } });
  const { token, id } = await call("POST", "/v1/keys/first", undefined, { note: "the admin" });
  return { node, call, admin: token, id };
}

async function logIn(page, url, token) {
  await page.goto(url);
  await page.getByLabel("Key").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
}

const sideBar = (page) => page.getByRole("navigation", { name: "Main" }).getByRole("link").allInnerTexts();

test("a page asks for a key, and is out after the log-out", async (t) => {
  const { node, admin } = await withKeys(t);
  const page = await open(t, await browser(t));
  await logIn(page, `${node.url}/access`, "gyre_aaaaaaaaaa_wrong");
  await page.getByRole("alert").getByText(/key/).waitFor();
  assert.ok(
    page.problems.every((p) => p.includes("401")),
    page.problems.join("\n"),
  ); // of the wrong key
  page.problems.length = 0;
  await page.screenshot({ path: join(screens, "login-light.png") });
  assert.deepEqual(await barriers(page), []);

  await logIn(page, `${node.url}/access`, admin);
  await page.getByRole("heading", { name: "Access" }).waitFor();
  assert.equal(new URL(page.url()).pathname, "/access"); // where the reader wanted to go
  const kept = await page.evaluate(() => document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage }));
  assert.doesNotMatch(kept, /gyre_/);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  await page.goto(`${node.url}/streams`);
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  assert.deepEqual(page.problems, []);
});

test("a role sees its pages and actions, and no others", async (t) => {
  const { node, call, admin } = await withKeys(t);
  const b = await browser(t);
  for (const [role, { streams, pages }] of Object.entries(roles)) {
    const { token } = await call("POST", "/v1/keys", admin, { role, streams });
    const page = await open(t, b);
    await logIn(page, `${node.url}/settings`, token);
    await page.getByRole("heading", { name: "Settings", exact: true }).waitFor();
    assert.deepEqual(await sideBar(page), pages, role);

    await page.goto(`${node.url}/access`);
    await page.getByText("Access is not for this key").waitFor();
    for (const path of ["/", "/streams", "/cluster", "/settings", "/streams/order-1", "/subscriptions"]) {
      await page.goto(node.url + path);
      await page.getByRole("heading", { level: 1 }).first().waitFor({ state: "attached" });
      await page.getByText("Looking …").waitFor({ state: "detached" });
    }
    await page.goto(`${node.url}/streams`);
    if (role !== "plugin-author") await page.getByText("order-1").first().waitFor();
    const appends = await page.getByRole("button", { name: "Append event" }).count();
    assert.equal(appends, role === "writer" ? 1 : 0, role);
    const retention = await page.getByRole("link", { name: "Retention" }).count();
    assert.equal(retention, role === "operator" ? 1 : 0, role);
    const counts = await page.getByRole("complementary", { name: "What there is" }).count();
    assert.equal(counts, role === "operator" ? 1 : 0, role);
    if (role !== "plugin-author") {
      await page.goto(`${node.url}/streams/order-1`);
      await page.getByText("OrderPlaced").waitFor();
      const remove = page.getByRole("button", { name: "Delete…" });
      if (role === "reader") assert.equal(await remove.count(), 0);
      else await remove.waitFor();
    }
    await page.goto(`${node.url}/subscriptions`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    const makes = await page.getByRole("button", { name: "New subscription" }).count();
    assert.equal(makes, role === "operator" ? 1 : 0, role);
    assert.deepEqual(page.problems, [], role);
  }
});

test("a key sees the policies of retention that it may set", async (t) => {
  const { node, call, admin } = await withKeys(t);
  await call("PUT", "/v1/retention/order", admin, { maxAgeMs: 86_400_000 });
  for (const [stream, maxCount] of [
    ["order-1", 100],
    ["cart-1", 200],
  ])
    await call("PUT", `/v1/streams/${stream}/retention`, admin, { maxCount });
  const b = await browser(t);
  for (const [streams, listed, sections] of [
    [["order-1"], ["order-1"], 1],
    [["order", "order-*"], ["order", "order-1"], 2],
    [["$all"], ["order", "cart-1", "order-1"], 2],
  ]) {
    const { token } = await call("POST", "/v1/keys", admin, { role: "operator", streams });
    const page = await open(t, b);
    await logIn(page, `${node.url}/retention`, token);
    await page.getByText("order-1").first().waitFor();
    assert.deepEqual(await page.getByRole("table").locator("a.main").allInnerTexts(), listed);
    await page.goto(`${node.url}/streams/order-1?view=retention`);
    await page.getByRole("heading", { name: "Of this stream" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Clear…" }).count(), sections, `${streams}`);
    assert.deepEqual(page.problems, [], `${streams}`);
  }
  const { token } = await call("POST", "/v1/keys", admin, { role: "writer", streams: ["order-*"] });
  const page = await open(t, b);
  await logIn(page, `${node.url}/retention`, token);
  await page.getByText("Retention is not for this key").waitFor();
  await page.goto(`${node.url}/streams/order-1?view=retention`);
  await page.getByText("OrderPlaced").waitFor(); // the events
  assert.equal(await page.getByRole("link", { name: "Retention" }).count(), 0);
  assert.deepEqual(page.problems, []);
});

test("a key is made, shown once, asked about, and revoked", async (t) => {
  const { node, call, admin, id } = await withKeys(t);
  const b = await browser(t);
  const page = await open(t, b);
  await logIn(page, `${node.url}/access`, admin);
  await page.getByRole("button", { name: "Create key" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("radio", { name: /^Writer/ }).check();
  await dialog.getByLabel("What it is for").fill("checkout-web");
  await dialog.getByRole("textbox", { name: "Streams" }).fill("order-*, cart-*");
  assert.deepEqual(await barriers(page), []);
  await dialog.getByRole("button", { name: "Create key" }).click();
  await page.getByText("Copy it now").waitFor();
  const token = await page.locator("code.secret").innerText();
  const { actions, ...made } = await call("GET", "/v1/principal", token);
  assert.deepEqual([made.role, made.streams, made.names], ["writer", ["order-*", "cart-*"], undefined]);
  assert.ok(actions.includes("append"));
  await page.getByText("created key checkout-web").waitFor(); // the audit, as it is written
  await page.screenshot({ path: join(screens, "access-light.png") });
  assert.deepEqual(await barriers(page), []);
  await page.getByRole("button", { name: "I have it" }).click();
  assert.equal(await page.locator("code.secret").count(), 0);

  await page.getByRole("textbox", { name: "Stream" }).fill("order-1");
  await page.getByText("Yes.").waitFor();

  const other = await open(t, b);
  await logIn(other, `${node.url}/streams`, token);
  await other.getByText("order-1").first().waitFor();
  await page.getByRole("row", { name: "checkout-web" }).getByRole("button", { name: "Revoke" }).click();
  await dialog.getByText("It cannot be taken back").waitFor();
  await dialog.getByRole("button", { name: "Revoke" }).click();
  await page.getByText("checkout-web is revoked").waitFor();
  await page.getByText("revoked key").first().waitFor();
  await other.getByRole("heading", { name: "Log in" }).waitFor(); // by itself

  await page.getByRole("row", { name: id }).getByRole("button", { name: "Revoke" }).click();
  await dialog.getByText("the last admin’s").waitFor();
  assert.ok(await dialog.getByRole("button", { name: "Revoke" }).isDisabled()); // its id has to be typed
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await page.waitForFunction(() => !history.state?.over); // the dialog has left the history
  for (const [view, text] of [
    ["roles", "What a role may do"],
    ["audit", "newest"],
  ]) {
    await page.goto(`${node.url}/access?view=${view}`);
    await page.getByText(text).first().waitFor();
    await page.screenshot({ path: join(screens, `access-${view}-light.png`) });
    assert.deepEqual(await barriers(page), []);
  }
  assert.deepEqual(page.problems, []);
});

/** An action for each row of the table of roles. */
const rights = {
  "Read events and follow": "read",
  Append: "append",
  "Delete streams, and undo that": "streams.delete",
  "Remove streams with their events": "streams.remove",
  "Set the retention of streams": "streams.retention",
  "Consume subscriptions, keep places": "consume",
  "Read the state of plugins": "plugins.state",
  "Upload, deploy and steer plugins": "plugins.deploy",
  "Steer subscriptions, replay parked events": "subscriptions.steer",
  "See and drain nodes": "cluster.steer",
  "Scavenge the store": "scavenge",
  "Back up the store": "backup",
  "See metrics and settings": "metrics.see",
  "Grant plugins hosts and secrets": "plugins.grant",
  "Manage keys, read $audit": "keys.manage",
};

test("the table of roles is what the node decides", async (t) => {
  const { node, call, admin } = await withKeys(t);
  const page = await open(t, await browser(t));
  await logIn(page, `${node.url}/access?view=roles`, admin);
  const table = page.getByRole("table", { name: "Roles" });
  await table.waitFor();
  const columns = await table.locator("thead th").allInnerTexts();
  assert.deepEqual([...columns].sort(), ["admin", ...Object.keys(roles)].sort());
  const tokens = { admin };
  for (const [role, { streams }] of Object.entries(roles))
    tokens[role] = (await call("POST", "/v1/keys", admin, { role, streams })).token;
  const rows = await table.locator("tbody tr").all();
  assert.equal(rows.length, Object.keys(rights).length);
  for (const row of rows) {
    const words = await row.locator("th").innerText();
    const cells = await row.locator("td").allInnerTexts();
    for (const [i, role] of columns.entries()) {
      const { actions } = await call("GET", "/v1/principal", tokens[role]);
      assert.equal(cells[i].trim() !== "no", actions.includes(rights[words]), `${role}: ${words}`);
    }
  }
});
