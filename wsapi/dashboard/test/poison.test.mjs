// The events that a plugin has parked, in a real browser: why, a run without effect, a retry, a drop.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { barriers, browser, Node, open, phone, screens, words } from "./node.mjs";

const button = (page, name) => page.getByRole("button", { name, exact: true });
const shown = (page, text) => page.getByText(text, { exact: false }).first().waitFor();

/** The node's answer to a request. */
async function api(node, path, method = "GET", body, type = "application/json") {
  const answer = await fetch(node.url + path, { method, headers: { "content-type": type }, body });
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return text === "" ? undefined : JSON.parse(text);
}

test("a parked event from its reason to its end", async (t) => {
  const node = await Node.start(t);
  for (const version of ["1.0.0", "1.0.1"])
    await api(node, `/v1/plugins/words/versions/${version}`, "PUT", words({ version }), "application/wasm");
  const long = Array.from({ length: 5000 }, (_, i) => `w${i}`).join(" ");
  for (const text of ["a rose", long, "is a rose", `${long} again`])
    await api(node, "/v1/streams/in/events", "POST", JSON.stringify({ type: "Said", data: { words: text } }));
  const deploy = (fuel) =>
    api(
      node,
      "/v1/plugins/words/deploy",
      "POST",
      JSON.stringify({ version: "1.0.0", grants: ["state"], limits: { fuel }, onError: { attempts: 1 } }),
    );
  await deploy(1_000_000);

  const b = await browser(t);
  const page = await open(t, b);
  await page.goto(`${node.url}/plugins/words`);
  await page.getByRole("link", { name: "Parked 2" }).click();
  await page.getByRole("link", { name: "Said" }).first().waitFor();
  for (const key of ["j", "Enter"]) await page.keyboard.press(key);
  await shown(page, "plugin out of fuel");
  await shown(page, "It logged, stored and appended nothing");
  for (const theme of ["light", "dark"]) {
    const look = await open(t, b, { theme });
    await look.goto(`${node.url}/plugins/words?view=parked`);
    await look.getByRole("link", { name: "Said" }).first().waitFor();
    await look.screenshot({ path: join(screens, `plugin-parked-${theme}.png`) });
    assert.deepEqual(await barriers(look), [], theme);
    await look.goto(page.url());
    await button(look, "Run without effect").click();
    await shown(look, "1.0.0 fails");
    await look.screenshot({ path: join(screens, `plugin-poison-fails-${theme}.png`), fullPage: true });
    assert.deepEqual(await barriers(look), [], theme);
    assert.deepEqual(look.problems, []);
  }

  await button(page, "Retry").click();
  await shown(page, "is parked again");
  await shown(page, "2 attempts");
  await deploy(0);
  await page.getByLabel("Version").selectOption("1.0.1");
  await button(page, "Run without effect").click();
  await shown(page, "1.0.1 handles it");
  await shown(page, "A retry is by 1.0.0, which is deployed.");
  await page.screenshot({ path: join(screens, "plugin-poison-passes-light.png"), fullPage: true });
  await phone(page, "plugin-poison-passes");
  assert.equal((await api(node, "/v1/plugins/words/poison")).poison.length, 2, "a run has no effect");
  await button(page, "Retry").click();
  await shown(page, "event 2 is handled");
  await page.getByRole("link", { name: "Said" }).click();
  await button(page, "Drop…").click();
  await button(page, "Drop it").click();
  await shown(page, "Nothing is parked");
  assert.deepEqual((await api(node, "/v1/plugins/words/poison")).poison, []);
  assert.deepEqual(page.problems, []);
});
