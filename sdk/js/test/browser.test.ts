// The client in a real Chromium, from a page of another origin than the node's.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";
import { after, test } from "node:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { devCert, Node, waitLimit } from "./node.js";
import type * as inPage from "./page.js";

const root = join(import.meta.dirname, "..");

/** The browser to test in: what the environment says, or what is found. */
function findChromium(): string | undefined {
  const named = process.env["GYRE_TEST_CHROMIUM"];
  if (named) return named;
  try {
    return (
      execFileSync("sh", ["-c", "command -v chromium chromium-browser google-chrome | head -n 1"], { encoding: "utf8" }).trim() || undefined
    );
  } catch {
    return undefined;
  }
}

/** Serves the files of dist and build. */
const files = createServer((request, response) => {
  const path = normalize(new URL(request.url ?? "/", "http://x").pathname);
  if (path === "/") {
    response.setHeader("Content-Type", "text/html").end("<!doctype html><title>Gyre</title>");
  } else if (/^\/(dist|build)\/[\w.]+\.js$/.test(path) && existsSync(join(root, path))) {
    createReadStream(join(root, path)).pipe(response.setHeader("Content-Type", "text/javascript"));
  } else {
    response.writeHead(404).end();
  }
});

let browser: Browser | undefined;
after(async () => {
  await browser?.close();
  files.closeAllConnections();
  files.close();
});

const executablePath = findChromium();
if (executablePath === undefined) assert.ok(process.env["CI"] !== "true", "Chromium is missing");

test("in Chromium", { skip: executablePath === undefined && "Chromium is missing" }, async (t) => {
  files.listen(0, "127.0.0.1");
  await once(files, "listening");
  const { port } = files.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const node = await Node.start(t, "disk", "--allow-origin", origin);
  const launched = await chromium.launch({
    executablePath: executablePath as string,
    headless: true,
    args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
  browser = launched;
  const open = async (from: string): Promise<Page> => {
    const page = await launched.newPage();
    await page.goto(from);
    return page;
  };
  const page = await open(origin);

  await t.test("a page of an allowed origin can do everything", async () => {
    const done = await page.evaluate(async (url) => {
      const { everyMode } = (await import(`${location.origin}/build/page.js`)) as typeof inPage;
      return everyMode(url);
    }, node.url);
    assert.deepEqual(done, Array(3).fill('201 {"big":1E400,"n":1.10} 200 true'));
  });

  await t.test("over TLS", async (t) => {
    const secure = await Node.start(t, "memory", "--allow-origin", origin, ...devCert(t).flags);
    const context = await launched.newContext({ ignoreHTTPSErrors: true }); // the CA is in no browser
    const page = await context.newPage();
    await page.goto(origin);
    const done = await page.evaluate(async (url) => {
      const { everyMode } = (await import(`${location.origin}/build/page.js`)) as typeof inPage;
      return everyMode(url);
    }, secure.url);
    assert.deepEqual(done, Array(3).fill('201 {"big":1E400,"n":1.10} 200 true'));
  });

  await t.test("a page of another origin is refused, with a reason", async () => {
    const stranger = await open(`http://localhost:${port}`);
    const why = await stranger.evaluate(async (url) => {
      const { tryToConnect } = (await import(`${location.origin}/build/page.js`)) as typeof inPage;
      return tryToConnect(url);
    }, node.url);
    assert.match(why, /^unavailable: .* does not allow this page's origin$/);
  });

  await t.test("workers handle the events of a subscription", async () => {
    const total = 50;
    const { handled, state, attempts } = await page.evaluate(
      async ([url, total]) => {
        const { consume } = (await import(`${location.origin}/build/page.js`)) as typeof inPage;
        return consume(url, total);
      },
      [node.url, total] as const,
    );
    assert.deepEqual(
      handled.toSorted((a, b) => a - b),
      Array.from({ length: total }, (_, i) => i),
    );
    assert.equal(state, "live");
    assert.equal(attempts, total + 1);
  });

  await t.test("fetch sends CloudEvents in binary mode, and reads what the headers say", async () => {
    const read = await page.evaluate(async (url) => {
      const events = `${url}/v1/streams/${encodeURIComponent("cloud/1")}/events`;
      const headers = { "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/page", "ce-type": "Clicked", "ce-comexampleext": "x" };
      const { status } = await fetch(events, { method: "POST", headers, body: "{}" });
      const head = await fetch(events, { method: "HEAD" });
      // The browser has a page in its cache that is another representation.
      await fetch(events);
      const batch = await fetch(events, { headers: { Accept: "application/cloudevents-batch+json" } });
      const [event] = (await batch.json()) as { comexampleext: string }[];
      return [
        status,
        head.headers.get("Gyre-Version"),
        head.headers.get("Gyre-Head") !== null,
        head.headers.get("ETag") !== null,
        event?.comexampleext,
      ];
    }, node.url);
    assert.deepEqual(read, [201, "1", true, true, "x"]);
  });

  await t.test("an EventSource outlives a node that starts or shuts down", async () => {
    await node.stop();
    await node.startWithoutDatabase();
    await page.evaluate((url) => {
      const seen = { ends: [] as string[], types: [] as string[] };
      const source = new EventSource(`${url}/v1/streams/outlived/events?from=1`);
      source.addEventListener("end", (e) => seen.ends.push((JSON.parse(e.data) as { code: string }).code));
      source.addEventListener("message", (e) => seen.types.push((JSON.parse(e.data) as { type: string }).type));
      Object.assign(globalThis, { seen });
    }, node.url);
    const seen = (what: "ends" | "types", last: string) =>
      page.waitForFunction(
        ([what, last]) => (globalThis as unknown as { seen: Record<string, string[]> }).seen[what]?.at(-1) === last,
        [what, last] as const,
        { timeout: waitLimit },
      );
    await seen("ends", "starting");
    for (const type of ["First", "Second"]) {
      await node.stop();
      await node.start();
      const events = `${node.url}/v1/streams/outlived/events`;
      await fetch(events, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ type, data: 1 }) });
      await seen("types", type);
    }
    assert.deepEqual(await page.evaluate(() => (globalThis as unknown as { seen: { types: string[] } }).seen.types), ["First", "Second"]);
  });

  await t.test("kill -9 and restarts", async () => {
    const total = 200;
    await page.exposeFunction("reached", async (n: number) => {
      if (n % 60 !== 40) return;
      await node.kill();
      await node.start();
    });
    const seen = await page.evaluate(
      async ([url, total]) => {
        const { outlive } = (await import(`${location.origin}/build/page.js`)) as typeof inPage;
        return outlive(url, total, (globalThis as unknown as { reached: (n: number) => Promise<void> }).reached);
      },
      [node.url, total] as const,
    );
    assert.deepEqual(
      seen,
      Array.from({ length: total }, (_, i) => i),
    );
  });
});
