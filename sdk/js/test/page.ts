// What a page does with the client; test/browser.test.ts calls it, in Chromium.

import { connect, GyreError, Refusal } from "../dist/index.js";

/** Connects, and says why not if not. */
export async function tryToConnect(url: string): Promise<string> {
  try {
    await (await connect(url)).close();
    return "connected";
  } catch (e) {
    return GyreError.is(e) ? e.message : `not a GyreError: ${e}`;
  }
}

/** Appends, reads and follows, in every encoding. */
export async function everyMode(url: string): Promise<string[]> {
  const done: string[] = [];
  for (const o of [{}, { json: true }, { compress: true }]) {
    const c = await connect(url, o);
    const stream = JSON.stringify(o);
    const events = Array.from({ length: 200 }, (_, i) => ({ type: "A", data: { i, text: "nothing new ".repeat(20) } }));
    await c.append(stream, events, { expect: "no_stream" });
    const wrong = await c.append(stream, events, { expect: 7 }).catch((e: unknown) => e);
    const text = await c.append(stream, { type: "B", dataText: '{"big":1E400,"n":1.10}' });
    const follow = c.follow(stream, { from: { version: 1 } });
    let n = 0;
    for await (const e of follow) {
      if (e.version <= 200 && (e.data as { i: number }).i !== n) return [`${stream}: event ${n} is ${e.dataText}`];
      if (++n === text.version) break;
    }
    const last = (await c.read(stream, { backward: true, limit: 1 })).events[0];
    done.push(
      `${n} ${last?.dataText} ${GyreError.is(wrong, "wrong_expected_version") ? wrong.actual : wrong} ${(await c.server()).features.includes("follow")}`,
    );
    await c.close();
  }
  return done;
}

/** Appends and follows while the node comes and goes, and says what came. */
export async function outlive(url: string, total: number, reached: (n: number) => Promise<void>): Promise<number[]> {
  const c = await connect(url);
  const follow = c.follow("outlive");
  await follow.started();
  const appends = (async () => {
    for (let i = 0; i < total; i += 20) {
      const batch = Array.from({ length: 20 }, (_, j) => c.append("outlive", { type: "A", data: i + j }));
      const restarted = reached(i);
      await Promise.all(batch);
      await restarted;
    }
  })();
  const seen: number[] = [];
  for await (const e of follow) {
    seen.push(e.data as number);
    if (seen.length === total) break;
  }
  await appends;
  await c.close();
  return seen;
}

/** Handles the events of a subscription with workers, and says which, and how it is then. */
export async function consume(url: string, total: number): Promise<{ handled: number[]; state: string; attempts: number }> {
  const c = await connect(url);
  await c.append(
    "consume",
    Array.from({ length: total }, (_, i) => ({ type: "A", data: i })),
  );
  const stop = new AbortController();
  const subscriber = c.subscribe("work", { transient: true, workers: 3, options: { stream: "consume", retry: { minMs: 0 } } });
  const handled: number[] = [];
  let attempts = 0;
  let state = "";
  await subscriber.consume(
    async (d) => {
      attempts++;
      if (d.attempt === 1 && d.version === 2) throw new Refusal("retry", { delayMs: 0 });
      handled.push(d.data as number);
      if (handled.length < total) return;
      state = subscriber.status.state;
      stop.abort();
    },
    { signal: stop.signal },
  );
  await c.close();
  return { handled, state, attempts };
}
