// Plugins in a real browser: from the drop of a file to the end of a binding, and what each role
// may do of it.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { startRing } from "./ring.mjs";
import { barriers, browser, custom, guest, Node, open, phone, screens, words } from "./node.mjs";

/** Files to choose, in a directory that ends with the test. */
function files(t, contents) {
  const dir = mkdtempSync(join(tmpdir(), "gyre-modules-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const path = (name) => join(dir, name);
  for (const [name, bytes] of Object.entries(contents)) writeFileSync(path(name), bytes);
  return path;
}

const manifest = (version, more = {}) => ({
  name: "words",
  version,
  kind: "handler",
  description: "Counts words.",
  ...more,
});
const asks = ["append:out-*", "state", "http:example.com:443"];

/** The node's answer to a request. */
async function api(node, path, { method = "GET", token, body } = {}) {
  const answer = await fetch(node.url + path, {
    method,
    headers: { ...(token && { authorization: `Bearer ${token}` }), "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return text === "" ? undefined : JSON.parse(text);
}

/** Drops a file on the page, as a person does who has it in another window. */
async function drop(page, name, bytes) {
  const data = await page.evaluateHandle(
    ({ name, base64 }) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
      return transfer;
    },
    { name, base64: Buffer.from(bytes).toString("base64") },
  );
  await page.dispatchEvent("main", "dragenter", { dataTransfer: data });
  await page.locator(".drop.over").waitFor();
  await page.dispatchEvent("main", "drop", { dataTransfer: data });
}

const button = (page, name) => page.getByRole("button", { name, exact: true });
const shown = (page, text) => page.getByText(text, { exact: false }).first().waitFor();

test("a plugin from the drop of its file to its end", async (t) => {
  const node = await Node.start(t);
  await node.run(["append", "in", "Said", '{"words":"a rose is a rose"}']);
  const b = await browser(t);
  const page = await open(t, b);
  await page.goto(`${node.url}/plugins`);
  await shown(page, "No plugins yet");

  await t.test("upload, report, grants, deploy", async () => {
    await drop(page, "words.wasm", words(manifest("1.0.0", { capabilities: asks, subscription: { stream: "in" } })));
    await page.waitForURL("**/upload");
    await shown(page, "Verification report");
    await page.getByText("verified", { exact: true }).waitFor();
    assert.equal(await page.getByRole("img", { name: "Sent" }).count(), 1);
    assert.deepEqual(await barriers(page), []);
    await page.screenshot({ path: join(screens, "plugin-grants-light.png") });
    assert.deepEqual((await api(node, "/v1/plugins")).plugins[0].binding, undefined, "nothing runs yet");
    assert.equal(await page.getByLabel("append:out-*").isChecked(), true);
    assert.equal(await page.getByLabel("http:example.com:443").isChecked(), false);
    await shown(page, "http:example.com:443 not granted");
    await page.getByLabel("append:out-*").uncheck();
    await page.getByLabel("Batch, events").fill("7");
    await button(page, "Deploy 1.0.0").click();
    await page.waitForURL("**/plugins/words");
    await shown(page, "running");
    const binding = await api(node, "/v1/plugins/words");
    assert.deepEqual([binding.grants, binding.limits.batchEvents], [["state"], 7]);
  });

  await t.test("its log is live, and leads to the event", async () => {
    await page.getByRole("link", { name: "Logs" }).click();
    await shown(page, "1 events, 4 words");
    await node.run(["append", "in", "Said", '{"words":"more"}']);
    await shown(page, "1 events, 2 words");
    await button(page, "Pause").last().click();
    await node.run(["append", "in", "Said", '{"words":"and some more"}']);
    await shown(page, "1 lines wait");
    assert.equal(await page.getByText("1 events, 4 words").count(), 1);
    await button(page, "Go on").click();
    await page.getByText("1 events, 4 words").nth(1).waitFor();
    await page.getByRole("link", { name: "warn and above" }).click();
    await shown(page, "No line of this level");
    await page.goto(`${node.url}/plugins/words?view=logs`);
    await page.locator(".log .pos button").last().click();
    await page.waitForURL("**/streams/in/1");
  });

  await t.test("state by key, and what changes", async () => {
    await page.goto(`${node.url}/projections?of=words&by=key&prefix=words`);
    await page.getByLabel("Value, as bytes").getByText("61 6e 64 20 31").waitFor(); // "and 1"
    const code = page.locator("aside pre").last();
    assert.match(await code.innerText(), /^gyre plugin state words words$/);
    const [, ...command] = (await code.innerText()).split(" ");
    assert.match(await node.run(command), /^and 1\n/);
    await button(page, "curl").click();
    const answer = await fetch((await code.innerText()).replace(/^curl /, ""));
    assert.match(await answer.text(), /^and 1\n/);
    await node.run(["append", "in", "Said", '{"other":1}']);
    await page.locator(".fresh").waitFor();
    await page.getByLabel("Key, or the beginning of keys").fill("none");
    await shown(page, "There is no such key");
    await button(page, "Prefix").click();
    await shown(page, "No key begins so");
  });

  await t.test("pause, undo, resume", async () => {
    await page.goto(`${node.url}/plugins/words`);
    await button(page, "Pause").click();
    await shown(page, "words is paused");
    await button(page, "Undo").click();
    await button(page, "Pause").waitFor();
    await button(page, "Pause").click();
    await button(page, "Resume").click();
    await shown(page, "running");
  });

  await t.test("upgrade, roll back, rebuild", async () => {
    await page.getByRole("link", { name: "Upload a version" }).click();
    const more = words(manifest("2.0.0", { capabilities: ["state", "streams.read"], subscription: { stream: "in" } }));
    const path = files(t, { "new.wasm": more });
    await page.locator("input[type=file]").setInputFiles(path("new.wasm"));
    await shown(page, "1.0.0 stops after its batch");
    await page.locator("li", { hasText: "streams.read" }).getByText("new", { exact: true }).waitFor();
    await button(page, "Deploy 2.0.0").click();
    await page.getByText("2.0.0 live").waitFor();
    assert.deepEqual((await api(node, "/v1/plugins/words")).grants, ["state"], "a new wish is not granted unasked");
    await button(page, "Roll back to 1.0.0").click();
    await page.getByText("1.0.0 live").waitFor();
    await button(page, "Undo").click();
    await page.getByText("2.0.0 live").waitFor();
    await button(page, "Rebuild…").click();
    await page.getByRole("dialog").getByRole("button", { name: "Rebuild" }).click();
    await shown(page, "is built anew, beside generation 1");
    await shown(page, "Roll back to ");
    for (const by = Date.now() + 20_000; (await api(node, "/v1/plugins/words")).generation !== 2; await setTimeout(50))
      assert.ok(Date.now() < by, "it was not switched to");
  });

  await t.test("settings, with what the schema says", async () => {
    await page.goto(`${node.url}/plugins/words?view=settings`);
    await page.getByLabel("Config, an object of JSON").fill("[1]");
    await button(page, "Apply").click();
    await page.getByRole("alert").getByText("the config is no object").waitFor();
    await page.getByLabel("Config, an object of JSON").fill('{"n":1}');
    await page.getByLabel("Then stop").check();
    await button(page, "Apply").click();
    await shown(page, "words is deployed");
    const binding = await api(node, "/v1/plugins/words");
    assert.deepEqual([binding.config, binding.onError.then], [{ n: 1 }, "stop"]);
  });

  await t.test("the palette finds it; versions, and the end", async () => {
    await page.keyboard.press("/");
    await page.getByRole("combobox").fill("wor");
    await page.getByRole("option", { name: "words plugin", exact: true }).click();
    await page.waitForURL("**/plugins/words");
    await button(page, "Delete…").click();
    const sure = page.getByRole("dialog").getByRole("button", { name: "Delete" });
    assert.equal(await sure.isDisabled(), true);
    await page.getByRole("dialog").getByRole("textbox").fill("words");
    await sure.click();
    await page.waitForURL("**/plugins");
    await page.getByRole("link", { name: "words" }).click();
    await shown(page, "not deployed");
    await button(page, "Delete 1.0.0…").click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await shown(page, "words 1.0.0 is deleted");
    assert.deepEqual(
      (await api(node, "/v1/plugins/words/versions")).versions.map((v) => v.version),
      ["2.0.0"],
    );
  });
  assert.deepEqual(page.problems, []);
});

/** Uploads modules of guests as versions of a plugin: 1.0.0 is the first. */
async function upload(node, name, ...guests) {
  for (const [i, of] of guests.entries()) {
    const version = `${i + 1}.0.0`;
    const asks = { capabilities: ["append:sixteens", "state"], subscription: { stream: "in" } };
    const body = guest(of, { name, version, kind: "handler", ...asks });
    const put = { method: "PUT", headers: { "content-type": "application/wasm" }, body };
    const answer = await fetch(`${node.url}/v1/plugins/${name}/versions/${version}`, put);
    assert.ok(answer.ok, await answer.text());
  }
}

/** Appends so many events with numbers in them. */
const numbers = (node, n) =>
  node.run(
    ["import", "-"],
    Array.from({ length: n }, (_, i) => `{"stream":"in","type":"Counted","data":{"n":${i}}}\n`).join(""),
  );

/** Waits until a binding has handled everything. */
async function handled(node, name) {
  for (const by = Date.now() + 20_000; ; await setTimeout(20)) {
    const b = await api(node, `/v1/plugins/${name}`);
    if (b.lag === 0 && b.state === "running") return b;
    assert.ok(Date.now() < by, JSON.stringify(b));
  }
}

test("dry runs: of one version, of two, of one that loops", async (t) => {
  const node = await Node.start(t);
  await numbers(node, 40);
  await upload(node, "sums", "totals", "words", "hostile");
  const deploy = { version: "1.0.0", grants: ["append:sixteens", "state"], limits: { timeMs: 100 } };
  deploy.onError = { attempts: 1 };
  await api(node, "/v1/plugins/sums/deploy", { method: "POST", body: deploy });
  await handled(node, "sums");
  const kept = async () => [
    await api(node, "/v1/plugins/sums/state"),
    await api(node, "/v1/plugins/sums/logs"),
    (await api(node, "/v1/stats")).log.head,
  ];
  const before = await kept();
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/plugins/sums?view=dry-run&from=1&to=40`);

  await t.test("the deployed version does what is stored", async () => {
    await button(page, "Run").click();
    await shown(page, "nothing was written");
    await shown(page, "What 1.0.0 would append");
    await shown(page, "It is exactly what is stored.");
    assert.equal(await page.getByRole("img", { name: "Outputs over positions: 2 of 1.0.0" }).count(), 1);
    assert.deepEqual(await barriers(page), []);
    await page.screenshot({ path: join(screens, "plugin-dry-run-light.png"), fullPage: true });
    await phone(page, "plugin-dry-run");
    await page
      .getByRole("row", { name: /Sixteen/ })
      .nth(1)
      .getByRole("button", { name: "32" })
      .click();
    await page.waitForURL("**/streams/in/32");
    await page.goBack();
  });

  await t.test("two versions differ, event by event", async () => {
    await page.goto(`${node.url}/plugins/sums?view=versions`);
    await page
      .getByRole("row", { name: /2\.0\.0/ })
      .getByRole("link", { name: "Dry run…" })
      .click();
    await button(page, "Run").click();
    await shown(page, "Where they differ");
    await page.getByRole("list", { name: "Differences" }).getByRole("link").nth(1).click();
    await page.waitForURL("**at=*");
    await shown(page, "2 of ");
    for (const key of ["k", "j"]) {
      await page.keyboard.press(key);
      await shown(page, key === "k" ? "1 of " : "2 of ");
    }
    assert.equal((await page.getByRole("group", { name: "Difference" }).first().locator(".del").count()) > 0, true);
    assert.deepEqual(await barriers(page), []);
    await page.screenshot({ path: join(screens, "plugin-dry-run-two-light.png"), fullPage: true });
    await phone(page, "plugin-dry-run-two");
  });

  await t.test("it is cancelled, and a loop is cut with its stack", async () => {
    await page.goto(`${node.url}/plugins/sums?view=dry-run&try=3.0.0`);
    await button(page, "Run").click();
    await button(page, "Cancel").click();
    await button(page, "Run").waitFor();
    await page.getByLabel("Events at most").fill("1");
    await button(page, "Run").click();
    await shown(page, "Failures of 3.0.0");
    await page.locator("details.fail summary").click();
    await page.getByLabel("Stack, innermost first").getByText(/\$\d/).waitFor();
  });

  await t.test("a range that is not there says so", async () => {
    await page.goto(`${node.url}/plugins/sums?view=dry-run&from=1000`);
    await button(page, "Run").click();
    await page.getByRole("alert").getByText("What invalid_dry_run_range means").waitFor();
  });
  assert.deepEqual(await kept(), before);
  assert.deepEqual(
    page.problems.filter((p) => !p.includes("400")),
    [],
  );
});

test("a version in the shadow, to the switch", async (t) => {
  const node = await Node.start(t);
  await upload(node, "sums", "totals", "words", "hostile");
  const deploy = { version: "1.0.0", grants: ["append:sixteens", "state"], limits: { fuel: 1_000_000 } };
  await api(node, "/v1/plugins/sums/deploy", { method: "POST", body: deploy });
  await handled(node, "sums");
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/plugins/sums?view=shadow`);

  await t.test("one that loops parks what the other handles", async () => {
    await page.getByLabel("Version").selectOption("3.0.0");
    await button(page, "Run in the shadow").click();
    await page.getByText("3.0.0 shadow").first().waitFor();
    await numbers(node, 1);
    await shown(page, "parked by 3.0.0");
    await shown(page, "plugin out of fuel");
    await button(page, "End the shadow").click();
    await shown(page, "No version runs in the shadow of 1.0.0");
    assert.equal((await api(node, "/v1/plugins/sums")).shadow, undefined);
  });

  await t.test("differences come as events do, each in full", async () => {
    await page.getByLabel("Version").selectOption("2.0.0");
    await button(page, "Run in the shadow").click();
    await shown(page, "Nothing was compared yet");
    await numbers(node, 31);
    await shown(page, "Where they differ");
    await page.getByRole("list", { name: "Differences" }).getByText("only 1.0.0 appends").first().click();
    await page.getByText("Sixteen", { exact: true }).first().waitFor();
    await page.getByText("held back", { exact: true }).waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.screenshot({ path: join(screens, "plugin-shadow-light.png"), fullPage: true });
    await phone(page, "plugin-shadow");
  });

  await t.test("the switch says what it means, and is one step", async () => {
    await button(page, "Switch to 2.0.0…").click();
    await page.getByRole("dialog").getByText("goes on with the state that 1.0.0 has stored").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Switch" }).click();
    await page.getByText("2.0.0 live").waitFor();
    const { version, previous, shadow } = await api(node, "/v1/plugins/sums");
    assert.deepEqual([version, previous, shadow], ["2.0.0", "1.0.0", undefined]);
  });
  // The page may ask how the shadow is while it ends.
  assert.deepEqual(
    page.problems.filter((p) => !/404.*\/shadow/.test(p)),
    [],
  );
});

test("validators, and what shapes subscriptions", async (t) => {
  const node = await Node.start(t);
  const page = await open(t, await browser(t));
  const orders = (version, kind, more) => guest("orders", { name: kind, version, kind, capabilities: [], ...more });
  const patterns = { subscription: { filter: { streams: ["order-*"] } } };
  const append = (total) =>
    fetch(`${node.url}/v1/streams/basket-1/events`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ type: "Filled", data: { total } }),
    });

  await t.test("a validator is deployed for streams, and counts what it refuses", async () => {
    await page.goto(`${node.url}/plugins`);
    await shown(page, "Drop a .wasm file here");
    await drop(page, "orders.wasm", orders("1.0.0", "validate", patterns));
    await page.getByLabel("Appends to streams").fill("order-*, basket-*");
    await page.getByLabel("An append, ms").fill("200");
    await button(page, "Deploy 1.0.0").click();
    await page.waitForURL("**/plugins/validate");
    await page.getByLabel("Validator").getByText("order-*, basket-*").waitFor();
    assert.equal((await append(-1)).status, 422);
    await page.locator(".stat", { hasText: "Refused" }).getByText("1", { exact: true }).waitFor();
    assert.equal(await button(page, "Rebuild…").count(), 0);
    assert.equal(await page.getByRole("link", { name: "Dry run" }).count(), 0);
    assert.deepEqual(await barriers(page), []);
    await phone(page, "validator");
  });

  await t.test("one that is paused is loud", async () => {
    await button(page, "Pause").click();
    await shown(page, "It is not in force");
    assert.equal((await append(-1)).status, 201);
    await page.goto(`${node.url}/plugins`);
    await shown(page, "A validator is not in force");
    await page
      .getByRole("row", { name: /validate/ })
      .getByText("not in force")
      .waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.screenshot({ path: join(screens, "validators-light.png") });
    await phone(page, "validators");
    await page.getByRole("link", { name: "validate" }).first().click();
    await button(page, "Resume").click();
    await page.getByText("1.0.0 live").waitFor();
    assert.equal((await append(-1)).status, 422);
  });

  await t.test("a filter is not deployed; what names it is listed", async () => {
    await page.goto(`${node.url}/plugins`);
    await shown(page, "Drop a .wasm file here");
    await drop(page, "filter.wasm", orders("1.0.0", "filter"));
    await shown(page, "gyre subscriptions create NAME --filter-plugin filter@1.0.0");
    await shown(page, "Nothing names a version of it");
    await node.run(["subscriptions", "create", "mail", "--filter-plugin", "filter@1.0.0"]);
    await page.goto(`${node.url}/plugins/filter?view=use`);
    await page.getByRole("link", { name: "mail" }).click();
    await shown(page, "filter@1.0.0");
  });
  assert.deepEqual(
    page.problems.filter((p) => !p.includes("422")),
    [],
  );
});

test("what is refused says why, and nothing is half done", async (t) => {
  const node = await Node.start(t);
  const page = await open(t, await browser(t));
  const path = files(t, {
    "notes.wasm": "hello",
    "damaged.wasm": Buffer.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 9]),
    "bare.wasm": words(),
    "old.wasm": words(manifest("1.0.0", { abi: "gyre_0" })),
    "one.wasm": words(manifest("1.0.0")),
    "other.wasm": words(manifest("1.0.0", { description: "Another." })),
  });
  const choose = async (name) => {
    await page.goto(`${node.url}/upload`);
    await page.locator("input[type=file]").setInputFiles(path(name));
  };
  const refused = async (code) => {
    await page.getByRole("alert").getByText(`What ${code} means`).waitFor();
    await shown(page, "Nothing was stored");
  };
  await choose("notes.wasm");
  await refused("invalid_module");
  await page.screenshot({ path: join(screens, "plugin-refused-light.png") });
  assert.deepEqual(page.problems, []);

  await choose("damaged.wasm");
  await page.getByLabel("Plugin", { exact: true }).fill("damaged");
  await button(page, "Upload and verify").click();
  await refused("invalid_module");
  await choose("old.wasm");
  await refused("invalid_manifest");
  assert.deepEqual((await api(node, "/v1/plugins")).plugins, []);

  await choose("one.wasm");
  await shown(page, "Verification report");
  await choose("other.wasm");
  await refused("version_exists");

  await choose("bare.wasm");
  await shown(page, "The module has no manifest");
  await page.getByLabel("Version").fill("3.0.0");
  await button(page, "Upload and verify").click();
  await shown(page, "Upload a version of bare");
  assert.equal((await api(node, "/v1/plugins/bare/versions/3.0.0")).manifest.kind, "handler");
});

test("an upload shows how far it is, and can be ended", async (t) => {
  const node = await Node.start(t);
  const page = await open(t, await browser(t));
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  await network.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput: 20_000,
  });
  await page.goto(`${node.url}/plugins`);
  const large = Buffer.concat([words(manifest("1.0.0")), custom("padding", Buffer.alloc(200_000))]);
  const path = files(t, { "large.wasm": large });
  await page.locator("input[type=file]").setInputFiles(path("large.wasm"));
  const part = page.getByRole("status").getByText("sending");
  await part.waitFor();
  const width = page.getByRole("img", { name: "Sent" }).locator(".fg");
  await page.waitForFunction((fg) => Number(fg.getAttribute("width")) > 5, await width.elementHandle());
  await page.screenshot({ path: join(screens, "plugin-sent-light.png") });
  await button(page, "Discard").click();
  await shown(page, "Drop a .wasm file here");
  assert.deepEqual((await api(node, "/v1/plugins")).plugins, []);
  assert.deepEqual(page.problems, []);
});

test("each role sees what it may", async (t) => {
  const path = files(t, {});
  await new Node().run(["auth", "key", "new", "--out", path("admin.key")]);
  const node = await Node.start(t, "--admin-key-file", path("admin.key"));
  const admin = readFileSync(path("admin.key"), "utf8").trim();
  const put = { method: "PUT", headers: { authorization: `Bearer ${admin}`, "content-type": "application/wasm" } };
  await fetch(`${node.url}/v1/plugins/words/versions/1.0.0`, { ...put, body: words(manifest("1.0.0")) });
  const deploy = { version: "1.0.0", grants: ["state"] };
  await api(node, "/v1/plugins/words/deploy", { method: "POST", token: admin, body: deploy });
  const event = { type: "Said", data: { words: "a rose" } };
  await api(node, "/v1/streams/in/events", { method: "POST", token: admin, body: event });

  const b = await browser(t);
  const logIn = async (key) => {
    const { token } = await api(node, "/v1/keys", { method: "POST", token: admin, body: key });
    const page = await open(t, b);
    await page.goto(node.url);
    await page.getByLabel("Key").fill(token);
    await button(page, "Log in").click();
    await page.getByRole("navigation", { name: "Main" }).waitFor();
    return page;
  };
  const links = (page) => page.getByRole("navigation", { name: "Main" }).getByRole("link").allInnerTexts();

  await t.test("an operator steers", async () => {
    const page = await logIn({ role: "operator", streams: ["$all"] });
    await page.goto(`${node.url}/plugins/words`);
    await button(page, "Pause").click();
    await shown(page, "words is paused");
    await button(page, "Resume").click();
    await shown(page, "running");
    assert.deepEqual(page.problems, []);
  });

  await t.test("a plugin-author deploys what its key is granted", async () => {
    const page = await logIn({ role: "plugin-author", streams: ["in"], names: ["mine-*"] });
    await page.goto(`${node.url}/plugins`);
    await shown(page, "Drop a .wasm file here");
    const own = words({
      name: "mine-words",
      version: "1.0.0",
      capabilities: ["state", "http:example.com:443"],
      subscription: { stream: "in", filter: { streams: ["in"] } },
    });
    await drop(page, "mine.wasm", own);
    await shown(page, "an admin may grant it");
    assert.equal(await page.getByRole("checkbox").count(), 1);
    await button(page, "Deploy 1.0.0").click();
    await page.waitForURL("**/plugins/mine-words");
    await shown(page, "running");
    assert.deepEqual(page.problems, []);
  });

  await t.test("a reader reads state by name, and nothing else of plugins", async () => {
    const page = await logIn({ role: "reader", streams: ["$all"] });
    assert.equal((await links(page)).includes("Plugins"), false);
    await page.goto(`${node.url}/plugins`);
    await shown(page, "is not for this key");
    await page.goto(`${node.url}/projections`);
    await page.getByLabel("Name of a binding").fill("words");
    await button(page, "Show").click();
    await page.getByLabel("Value, as bytes").getByText("72 6f 73 65").waitFor(); // "rose"
    assert.deepEqual(page.problems, []);
  });
});

test("in a ring a plugin is seen and steered from every node", async (t) => {
  const nodes = await startRing(t);
  if (nodes === undefined) {
    t.skip("PostgreSQL is missing");
    return;
  }
  const whole = { method: "PUT", headers: { "content-type": "application/wasm" }, body: words(manifest("1.0.0")) };
  await fetch(`${nodes[0].url}/v1/plugins/words/versions/1.0.0`, whole);
  const deploy = { version: "1.0.0", grants: ["state"], input: { stream: "in" } };
  await api(nodes[0], "/v1/plugins/words/deploy", { method: "POST", body: deploy });
  const say = (node, text) =>
    api(node, "/v1/streams/in/events", { method: "POST", body: { type: "Said", data: { words: text } } });
  await say(nodes[0], "a rose");
  const { owner } = await api(nodes[0], "/v1/cluster/whereis?subscription=words");
  const others = nodes.filter((n) => n.id !== owner.node);
  const page = await open(t, await browser(t));

  for (const node of others) {
    await page.goto(`${node.url}/plugins`);
    await page.getByRole("row", { name: /words/ }).getByText("running").waitFor();
    await page.goto(`${node.url}/plugins/words`);
    await page.getByLabel("Binding").getByText(owner.node).waitFor();
    await page.getByLabel("Binding").getByText("1 events in 1 batches").waitFor();
    await shown(page, "1 events, 3 words");
    await page.goto(`${node.url}/projections`);
    await page.getByLabel("Value, as bytes").getByText("72 6f 73 65").waitFor();
  }
  await page.goto(`${others[0].url}/plugins/words`);
  await button(page, "Pause").click();
  await shown(page, "words is paused");
  await button(page, "Resume").click();
  await shown(page, "running");
  assert.deepEqual(page.problems, []);

  process.kill(nodes.find((n) => n.id === owner.node).pid, "SIGKILL");
  const heir = page.getByLabel("Binding").getByText(new RegExp(others.map((n) => n.id).join("|")));
  await heir.waitFor({ timeout: 30_000 });
  await say(others[0], "a rose is a rose");
  await page.getByText("1 events, 4 words").waitFor({ timeout: 30_000 });
});
