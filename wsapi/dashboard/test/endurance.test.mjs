// Pages that stay open for long, under load, and while nodes come and go.
//
// GYRE_TEST_TAIL is for how many seconds the live tail is watched; 600 if it is not set.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, Node, open } from "./node.mjs";

const seconds = Number(process.env.GYRE_TEST_TAIL || 600);
const ms = (n) => `${n.toFixed(0)} ms`;

function quantile(share, values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

async function append(node, stream, events) {
  const answer = await fetch(`${node.url}/v1/streams/${stream}/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(events),
  });
  assert.ok(answer.ok, await answer.text());
}

const orders = (n, from = 0) =>
  Array.from({ length: n }, (_, i) => ({
    type: i % 3 === 0 ? "OrderPlaced" : "OrderPaid",
    data: { order: from + i, total: 9007199254740993n.toString(), currency: "EUR", note: "a line of text ".repeat(4) },
  }));

/** Appends so many events a second, in ten steps each, until it is stopped; it returns how many. */
function load(node, perSecond) {
  let appended = 0;
  const stop = new AbortController();
  const done = (async () => {
    const started = performance.now();
    for (let step = 1; !stop.signal.aborted; step++) {
      await append(node, `orders-${step % 100}`, orders(perSecond / 10, appended));
      appended += perSecond / 10;
      await new Promise((next) => setTimeout(next, started + 100 * step - performance.now()));
    }
    return appended;
  })();
  return () => {
    stop.abort();
    return done;
  };
}

/** The bytes of the page's heap that are in use after a collection, without the events that are on their way. */
async function heap(devtools) {
  let least = Infinity;
  for (let look = 0; look < 8; look++) {
    await devtools.send("HeapProfiler.collectGarbage");
    least = Math.min(least, (await devtools.send("Runtime.getHeapUsage")).usedSize);
    await new Promise((next) => setTimeout(next, 250));
  }
  return least;
}

/** How long the page takes from a key that is typed to the frame that shows it. */
async function latency(page) {
  const measured = page.evaluate(
    () =>
      new Promise((done) =>
        addEventListener(
          "keydown",
          (e) => requestAnimationFrame(() => setTimeout(() => done(performance.now() - e.timeStamp))),
          { once: true, capture: true },
        ),
      ),
  );
  await page.locator("main input[type=search]").press("x");
  return measured;
}

test(`${seconds} seconds of live tail at 5,000 events/s`, { timeout: (seconds + 120) * 1000 }, async (t) => {
  const node = await Node.start(t);
  const page = await open(t, await browser(t));
  await page.goto(`${node.url}/tail`);
  await page.getByText("Waiting for the next event").waitFor();
  const devtools = await page.context().newCDPSession(page);
  const stop = load(node, 5000);
  const started = performance.now();
  const latencies = [];
  let early = 0;
  const warm = Math.min(60, seconds / 4);
  for (let at = 0; at < seconds; at = (performance.now() - started) / 1000) {
    if (early === 0 && at >= warm) early = await heap(devtools);
    latencies.push(await latency(page));
    await new Promise((next) => setTimeout(next, 1000));
  }
  const late = await heap(devtools);
  const appended = await stop();
  const rate = appended / ((performance.now() - started) / 1000);
  const mib = (n) => `${(n / 2 ** 20).toFixed(1)} MiB`;
  t.diagnostic(`appended ${rate.toFixed(0)} events/s, heap ${mib(early)} after ${warm} s, ${mib(late)} at the end`);
  const [p50, p95, most] = [quantile(0.5, latencies), quantile(0.95, latencies), Math.max(...latencies)];
  t.diagnostic(`key to frame: median ${ms(p50)}, p95 ${ms(p95)}, most ${ms(most)}, of ${latencies.length}`);
  assert.ok(late <= 1.2 * early, `${mib(early)} became ${mib(late)}`);
  assert.ok(p50 < 100, `a key takes ${ms(p50)}`);
  await page.getByText("events passed over to keep up").first().waitFor();
  assert.ok((await page.locator(".feed li").count()) <= 501);
  // The tail is at the head soon after the load ends: nothing has piled up.
  await page.locator("dl", { hasText: "Behind the head" }).getByText(/^0$/).waitFor({ timeout: 30_000 });
  assert.deepEqual(page.problems, []);
});

test("the tail goes on after kill -9, without a gap or a repeat, in two browsers", async (t) => {
  const node = await Node.start(t);
  const pages = [await open(t, await browser(t)), await open(t, await browser(t))];
  for (const page of pages) {
    await page.goto(`${node.url}/tail`);
    await page.getByText("Waiting for the next event").waitFor();
  }
  const positions = (page) =>
    page.locator(".feed li.e:not(.th) .p").evaluateAll((cells) => cells.map((c) => Number(c.textContent)).reverse());
  const shown = async (page, last) => {
    await page.locator(".feed").getByText(String(last), { exact: true }).waitFor();
    assert.deepEqual(
      await positions(page),
      Array.from({ length: last }, (_, i) => i + 1),
    );
  };
  for (let round = 1; round <= 3; round++) {
    await append(node, "s", orders(20));
    for (const page of pages) await shown(page, 40 * round - 20);
    await node.kill();
    for (const page of pages) await page.getByText("The node does not answer").waitFor();
    assert.equal(await pages[0].locator("main.stale").count(), 1);
    await node.start();
    await append(node, "s", orders(20));
    await pages[0]
      .getByRole("button", { name: "Try now" })
      .click({ timeout: 500 })
      .catch(() => {}); // it may be back
    for (const page of pages) {
      await shown(page, 40 * round);
      await page.getByText("The node does not answer").waitFor({ state: "detached" });
    }
  }
  await node.run(["subscriptions", "create", "mail"]);
  for (const page of pages) await page.goto(`${node.url}/subscriptions/mail`);
  await pages[0].getByRole("button", { name: "Pause" }).click();
  await pages[1].getByText("paused").first().waitFor();
  for (const page of pages) {
    const other = page.problems.filter(
      (p) => !/ERR_CONNECTION|ERR_EMPTY|ERR_INCOMPLETE|WebSocket|status of 503/.test(p),
    );
    assert.deepEqual(other, []); // the node was away
  }
});

test("100,000 streams scroll", async (t) => {
  const node = await Node.start(t);
  const lines = Array.from({ length: 100_000 }, (_, i) => {
    const id = `00000000-0000-7000-8000-${String(i).padStart(12, "0")}`;
    return JSON.stringify({ stream: `order-${String(i).padStart(6, "0")}`, id, type: "OrderPlaced", data: { i } });
  });
  await node.run(["import", "-"], lines.join("\n"));
  const page = await open(t, await browser(t));
  const medians = [];
  for (let run = 0; run < 3; run++) {
    await page.goto(`${node.url}/streams?sort=name`);
    await page.getByText("order-000000").first().waitFor();
    const frames = await page.evaluate(async () => {
      const frame = () => new Promise((done) => requestAnimationFrame(done));
      const took = [];
      let last = await frame();
      for (let i = 0; i < 400; i++) {
        scrollBy(0, 500);
        const at = await frame();
        took.push(at - last);
        last = at;
      }
      return took;
    });
    medians.push(quantile(0.95, frames));
  }
  t.diagnostic(`p95 of frames: ${medians.map(ms).join(", ")}`);
  assert.ok(quantile(0.5, medians) <= 50, `a frame takes ${ms(quantile(0.5, medians))}`);
  // To the end, page after page.
  await page.evaluate(async () => {
    while (!document.querySelector("main").textContent.includes("order-099999")) {
      scrollTo(0, document.documentElement.scrollHeight);
      await new Promise((done) => setTimeout(done, 20));
    }
  });
  assert.deepEqual(page.problems, []);
});

test("the first page can be used within a second", async (t) => {
  const node = await Node.start(t);
  await append(node, "s", orders(20));
  const b = await browser(t);
  const took = [];
  for (let run = 0; run < 3; run++) {
    const page = await open(t, b);
    await page.goto(node.url);
    await page.getByText("Written just now").waitFor();
    took.push(await page.evaluate(() => performance.now()));
  }
  t.diagnostic(`shown after ${took.map(ms).join(", ")}`);
  assert.ok(quantile(0.5, took) <= 1000);
});
