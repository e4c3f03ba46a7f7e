// Named subscriptions of a real node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Delivery, GyreError, Refusal, type SubscriptionStatus } from "../dist/index.js";
import { Node } from "./node.js";

for (const json of [false, true]) {
  const mode = json ? "json" : "bin";

  test(`acks, nacks and options: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, { json });
    await c.append(
      "s",
      Array.from({ length: 6 }, (_, i) => ({ type: i % 2 ? "Odd" : "Even", data: i })),
    );
    const options = { stream: "s", filter: { types: ["Even"] }, bufferSize: 2 };
    const subscriber = c.subscribe("evens", { options, consumer: "w1" });
    await subscriber.started();
    await assert.rejects(c.subscribe("evens", { options: { bufferSize: 3 } }).started(), { code: "subscription_options_differ" });
    await assert.rejects(c.subscribe("evens").started(), { code: "subscription_in_use", retryable: true });
    const seen: [number, number][] = [];
    for await (const d of subscriber) {
      seen.push([d.data as number, d.attempt]);
      if (d.data === 2 && d.attempt === 1) {
        await d.extend(60_000);
        await d.nack("retry", { delayMs: 0, reason: "not yet" });
      } else {
        await d.ack();
        await assert.rejects(d.ack(), { code: "unexpected_ack", positions: [d.position] });
      }
      if (seen.length === 4) break;
    }
    assert.deepEqual(
      seen.toSorted((a, b) => a[0] - b[0]),
      [
        [0, 1],
        [2, 1],
        [2, 2],
        [4, 1],
      ],
    );
  });

  test(`durable acks, and a buffer of its own: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, { json });
    await c.append(
      "s",
      Array.from({ length: 6 }, (_, i) => ({ type: "A", data: i })),
    );
    const options = { stream: "s", checkpointThreshold: 1000, checkpointAfterMs: 0 };
    const subscriber = c.subscribe("work", { options, bufferSize: 3 });
    const it = subscriber[Symbol.asyncIterator]();
    const next = async () => (await it.next()).value as Delivery;
    const info = async () => (await (await fetch(`${node.url}/v1/subscriptions/work`)).json()) as { checkpoint: number; inFlight: number };
    const [d1, d2, d3] = [await next(), await next(), await next()];
    assert.equal((await info()).inFlight, 3);
    // A durable ack waits for the events before it; others of its turn do not.
    let stored = false;
    const third = d3.ack({ durable: true }).then(() => {
      stored = true;
    });
    await d2.ack();
    assert.equal(stored, false);
    await d1.ack();
    await third;
    assert.equal((await info()).checkpoint, 3);
    await (await next()).ackUpTo({ durable: true });
    assert.equal((await info()).checkpoint, 4);
    subscriber.close();
  });

  test(`kill -9 while events are worked on: ${mode}`, async (t) => {
    const node = await Node.start(t, "disk");
    const [c, worker] = [await node.client(t), await node.client(t, { json })];
    const [rounds, each] = [4, 50];
    const total = rounds * each;
    const subscriber = worker.subscribe("work", { options: { stream: "s", bufferSize: 10 } });
    const deliveries: AsyncIterator<Delivery> = subscriber[Symbol.asyncIterator]();
    await subscriber.started();
    // An ack that was answered may be lost by a crash of the server, and its event come
    // again; what may not be is an event that never comes, or comes before an earlier one.
    const acked = new Set<number>();
    let first = 0;
    const ackUntil = async (size: number) => {
      while (acked.size < size) {
        const d = (await deliveries.next()).value as Delivery;
        assert.ok(d.version <= first + 1, `event ${d.version} comes before ${first + 1}`);
        first = Math.max(first, d.version);
        await d.ack().then(
          () => acked.add(d.version),
          (e: unknown) => assert.ok(GyreError.is(e, "lease_lost"), String(e)),
        );
      }
    };
    for (let round = 0; round < rounds; round++) {
      await c.append(
        "s",
        Array.from({ length: each }, (_, i) => ({ type: "A", data: i })),
      );
      await ackUntil(round * each + each / 2);
      const working = ackUntil((round + 1) * each);
      await node.kill();
      await node.start();
      await working;
    }
    assert.equal(first, total);
  });
}

for (const json of [false, true]) {
  const mode = json ? "json" : "bin";

  test(`workers, refusals and a signal: ${mode}`, async (t) => {
    const node = await Node.start(t, "memory");
    const c = await node.client(t, { json });
    await c.append(
      "s",
      Array.from({ length: 20 }, (_, i) => ({ type: "A", data: i })),
    );
    const states: SubscriptionStatus[] = [];
    const options = { stream: "s", retry: { minMs: 0 } };
    const subscriber = c.subscribe("work", { options, workers: 4, onStatus: (s) => states.push(s) });
    assert.equal(subscriber.status.state, "idle");
    const stop = new AbortController();
    const [handled, at]: [number[], { now: number; most: number }] = [[], { now: 0, most: 0 }];
    const consuming = subscriber.consume(
      async (d) => {
        at.most = Math.max(at.most, ++at.now);
        await new Promise((resolve) => setTimeout(resolve, 5));
        at.now--;
        if (d.data === 3) throw new Refusal("park", { reason: "no 3" });
        if (d.data === 4 && d.attempt === 1) throw new Error("not yet");
        handled.push(d.data as number);
        // What is handled when the signal comes may finish.
        if (handled.length === 15) stop.abort();
      },
      { signal: stop.signal },
    );
    await consuming;
    assert.equal(at.most, 4);
    assert.ok(handled.length >= 15 && handled.length < 19, `${handled.length} were handled`);
    assert.deepEqual(states[0], { state: "catchup", checkpoint: 0, head: 20 });
    // The rest is another's, and nothing of what was handled.
    const rest: number[] = [];
    const again = c.subscribe("work");
    await again.consume((d) => {
      rest.push(d.data as number);
      if (handled.length + rest.length === 19) again.close();
    });
    assert.deepEqual(
      [...handled, ...rest].toSorted((a, b) => a - b),
      Array.from({ length: 20 }, (_, i) => i).filter((i) => i !== 3),
    );
  });

  test(`a transient subscription outlives its server: ${mode}`, async (t) => {
    const node = await Node.start(t, "disk");
    const [c, worker] = [await node.client(t), await node.client(t, { json })];
    const [rounds, each] = [3, 40];
    await c.append("s", { type: "A", data: "before" });
    const subscriber = worker.subscribe("cache", { transient: true, options: { stream: "s", bufferSize: 5, from: { version: 2 } } });
    const deliveries: AsyncIterator<Delivery> = subscriber[Symbol.asyncIterator]();
    let [last, again] = [1, 0];
    for (let round = 1; round <= rounds; round++) {
      await c.append(
        "s",
        Array.from({ length: each }, (_, i) => ({ type: "A", data: i })),
      );
      while (last < round * each) {
        const d = (await deliveries.next()).value as Delivery;
        assert.ok(d.version <= last + 1, `event ${d.version} comes after ${last}`);
        if (d.version <= last) again++;
        last = Math.max(last, d.version);
        await d.ack().catch((e: unknown) => assert.ok(GyreError.is(e, "lease_lost"), String(e)));
      }
      await node.kill();
      await node.start();
    }
    // It goes on where the server last said that it was.
    assert.ok(again <= rounds * 5, `${again} events came again`);
    subscriber.close();
  });
}

test("an end that nobody asked for is the error of consume", async (t) => {
  const node = await Node.start(t, "memory");
  const c = await node.client(t);
  await c.append("s", [{ type: "A", data: 1 }]);
  const subscriber = c.subscribe("gone", { options: { stream: "s" } });
  const handled = new Promise<void>((resolve) => {
    subscriber.consume(() => resolve()).catch(() => {});
  });
  await handled;
  const other = c.subscribe("gone");
  await assert.rejects(
    other.consume(() => {}),
    { code: "subscription_in_use" },
  );
});
