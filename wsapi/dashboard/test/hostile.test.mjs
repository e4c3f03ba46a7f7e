// What is in events and names is shown as text, whatever it is.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { browser, Node, open, screens, words } from "./node.mjs";

const script = "<img src=x onerror=hacked=1><script>hacked=1</script>";

/** Names that mean something to HTML, to URLs, to paths, to objects or to the eye. */
const names = [
  `<img src=x onerror=hacked=1>`,
  `"'><svg onload=hacked=1>`,
  "a//b/../c?d=e#f&g=%2F%",
  "%E0%A4%A",
  "ends/",
  "/begins",
  "42",
  "__proto__",
  "\u202egnp.exe \u200b\u2066x",
  "مرحبا/日本語 🦆",
  `deep/${"%/".repeat(253)}`,
];

/** Data that is JSON, as it was written. */
const data = [
  JSON.stringify({ html: script, "<b>key</b>": "\u202e\u0000\u001b[31m", __proto__: 1 }),
  '{"big":9007199254740993,"small":1e-400,"many":' + "123456789".repeat(100) + ',"zero":-0.0}',
  "[".repeat(500) + "]".repeat(500),
];

/** Opens a page that reports what must not happen. */
async function watched(t, b, o) {
  const page = await open(t, b, o);
  page.on("dialog", (d) => {
    page.problems.push(`a dialog says ${d.message()}`);
    void d.dismiss();
  });
  return page;
}

/** Nothing ran, and nothing is wider than the window. */
async function sound(page, what) {
  const [hacked, wide, seen] = await page.evaluate(() => [
    "hacked" in globalThis,
    document.documentElement.scrollWidth - innerWidth,
    document.querySelectorAll("main img, main script, main svg[onload], main b > b").length,
  ]);
  assert.ok(!hacked, `a script of ${what} has run`);
  assert.ok(wide <= 0, `${what} is ${wide} px wider than the window`);
  assert.equal(seen, 0, `${what} is HTML`);
  assert.deepEqual(page.problems, [], what);
}

async function append(node, stream, events) {
  const answer = await fetch(`${node.url}/v1/streams/${encodeURIComponent(stream)}/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: `[${events.join(",")}]`,
  });
  assert.ok(answer.ok, await answer.text());
}

const event = (text, o = {}) =>
  `{"type":${JSON.stringify(o.type ?? "T")},"data":${text},"metadata":${JSON.stringify(o.metadata ?? {})}}`;

/** The name as the pages show it. */
const visible = (name) =>
  name.replace(
    /[\u200b-\u200f\u2028-\u202e\u2060-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

test("names are text, and have addresses", async (t) => {
  const node = await Node.start(t);
  for (const name of names) {
    const types = { type: `${script} ${name}`.slice(0, 200), metadata: { [name]: script, correlation_id: script } };
    await append(node, name, [event(data[0], types), event('{"changed":true}', types)]);
  }
  const made = await fetch(`${node.url}/v1/subscriptions/${encodeURIComponent(names[0])}`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ filter: { streams: [names[1]], types: [script] } }),
  });
  assert.ok(made.ok, await made.text());
  const b = await browser(t);
  for (const size of [
    { width: 1440, height: 900 },
    { width: 390, height: 844 },
  ]) {
    const page = await watched(t, b, size);
    for (const path of ["/", "/streams", "/streams?sort=name", "/streams/$all", "/subscriptions"]) {
      await page.goto(node.url + path);
      await page.getByText("onerror=hacked").filter({ visible: true }).first().waitFor();
      await sound(page, path);
    }
    await page.screenshot({ path: join(screens, `hostile-${size.width}.png`) });
    for (const name of names) {
      const at = `${node.url}/streams/${encodeURIComponent(name)}`;
      await page.goto(at);
      await page.locator("main tbody a").first().waitFor();
      assert.equal((await page.locator("h1").textContent()).trim(), visible(name));
      await sound(page, name);
      await page.locator("main tbody a").last().click();
      await page.getByText("The first event of its stream").waitFor();
      assert.equal(page.url(), `${at}/1`);
      await sound(page, `the event of ${name}`);
      for (const view of ["raw", "hex", "metadata"]) {
        await page.goto(`${at}/1?view=${view}`);
        await page.locator("main h1").waitFor();
        await sound(page, `${name}, ${view}`);
      }
      await page.keyboard.press("Escape");
      await page.locator("main tbody a").first().waitFor();
      assert.equal(page.url(), at);
    }
  }
});

test("data is text, with its numbers as they were written", async (t) => {
  const node = await Node.start(t);
  const text = "x\u202e<b>".repeat(140_000);
  const lines = (n) => JSON.stringify(Array.from({ length: 130_000 }, (_, i) => i * n));
  await append(node, "s", [...data.map((d) => event(d)), event(JSON.stringify({ text }))]);
  await append(node, "s", [event(lines(1))]);
  await append(node, "s", [event(lines(3))]);
  await append(node, "s", ['{"type":"B","dataBase64":"AP/+gIA8c2NyaXB0Pg==","contentType":"<b>x</b>"}']);
  const page = await watched(t, await browser(t));
  const see = async (version, view, wanted) => {
    await page.goto(`${node.url}/streams/s/${version}${view}`);
    await page.locator("main").getByText(wanted).first().waitFor();
    await sound(page, `version ${version}${view}`);
  };
  await see(1, "", "\\u202e\\u0000\\u001b[31m");
  await see(2, "", "9007199254740993");
  await see(2, "?view=raw", "123456789".repeat(100));
  await see(2, "", "1e-400");
  await see(2, "", "-0.0");
  await see(3, "", "Data");
  await see(4, "", "Show more");
  await page.getByRole("button", { name: "Show more" }).first().click();
  await sound(page, "more of it");
  await see(4, "?view=raw", "x\\u202e<b>x\\u202e<b>");
  await see(6, "", "More than 2,000 lines differ");
  await see(7, "", "These are bytes");
  await see(7, "?view=hex", "00 ff fe 80 80");
  await page.goto(`${node.url}/tail`);
  await page.getByText("Waiting for the next event").waitFor();
  for (let i = 0; i < 3; i++) await append(node, "s", [event(data[i], { type: script })]);
  await page.getByText("[[[[[[").first().waitFor();
  await sound(page, "the tail");
});

test("an address that nobody has made is answered", async (t) => {
  const node = await Node.start(t);
  await append(node, "s", [event("1")]);
  const page = await watched(t, await browser(t));
  for (const [path, wanted] of [
    ["/streams/s/2", "event_not_found"],
    ["/streams/s/900", "event_not_found"],
    ["/streams/s/0", "event_not_found"],
    ["/streams/s/-1", "event_not_found"],
    ["/streams/s/x", "event_not_found"],
    ["/streams/s/1e999", "event_not_found"],
    ["/streams/none", "no events"],
    ["/streams/%00", "invalid_stream_name"],
    ["/subscriptions/none", "subscription_not_found"],
    ["/plugins/none", "not_found"],
    ["/streams/a/b/c/d", "There is no such page"],
  ]) {
    await page.goto(node.url + path);
    await page.locator("main").getByText(wanted).first().waitFor();
    page.problems = page.problems.filter((p) => !/status of (400|404)/.test(p)); // the browser's own
    await sound(page, path);
  }
  assert.match(await node.run(["explain", "invalid_stream_name"]), /512 bytes/);
});

test("log lines of a plugin are text", async (t) => {
  const node = await Node.start(t);
  const module = words({});
  const said = module.indexOf(" events, ");
  assert.ok(said > 0);
  module.write("<b>\u202ex>y", said); // as long as what it was
  const send = async (method, path, type, body) => {
    const answer = await fetch(`${node.url}/v1/plugins/words${path}`, {
      method,
      headers: { "content-type": type },
      body,
    });
    assert.ok(answer.ok, await answer.text());
  };
  await send("PUT", "/versions/1.0.0", "application/wasm", module);
  await send("POST", "/deploy", "application/json", '{"version":"1.0.0","grants":["state"]}');
  await append(node, "s", [event(data[0])]);
  const page = await watched(t, await browser(t));
  await page.goto(`${node.url}/plugins/words?view=logs`);
  await page.getByText("1<b>\ufffdx>y").first().waitFor();
  await sound(page, "the log");
  assert.deepEqual(page.problems, []);
});
