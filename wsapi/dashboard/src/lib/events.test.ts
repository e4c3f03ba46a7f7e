import type { Batch, Client, RecordedEvent } from "@gyre-events/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { StreamEvents } from "./events.svelte.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", { hidden: false });
  vi.stubGlobal("scrollY", 0);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const event = (version: number) => ({ version }) as RecordedEvent;
const from = (first: number, n: number) => Array.from({ length: n }, (_, i) => event(first + i));
const versions = (events: readonly RecordedEvent[]) => events.map((e) => e.version);

/** A stream of three events, to which batches come. */
function streamOf(batches: readonly RecordedEvent[][], fail?: Error): Client {
  const read = async (_: string, o: { from?: number; limit: number }) => {
    const last = o.from ?? 3;
    const n = Math.min(last, o.limit);
    const events = from(last - n + 1, n).reverse();
    return { events, end: n === last, ...(n < last && { next: last - n }) };
  };
  const follow = () => ({
    async *batches() {
      for (const events of batches) yield { events } as unknown as Batch;
      if (fail !== undefined) throw fail;
    },
  });
  return { read, follow } as unknown as Client;
}

test("a stream that grows fast keeps its newest events, and reads the older ones again", async () => {
  const shown = new StreamEvents(streamOf([from(4, 3000), from(3004, 3000)]), "s");
  await vi.runAllTimersAsync();
  expect([shown.version, shown.events.length, shown.end]).toEqual([6003, 5000, false]);
  expect(shown.events.at(-1)?.version).toBe(1004);
  await shown.more();
  await shown.more();
  await shown.more();
  expect(versions(shown.events)).toEqual(versions(from(1, 6003).reverse()));
  expect(shown.end).toBe(true);
});

test("who reads further down has new ones wait, and sees no gap if they are many", async () => {
  const batches = Array.from({ length: 7 }, (_, i) => from(4 + 1000 * i, 1000));
  const shown = new StreamEvents(streamOf(batches), "s");
  await vi.advanceTimersByTimeAsync(0);
  vi.stubGlobal("scrollY", 99);
  await vi.runAllTimersAsync();
  expect(shown.waiting.length).toBe(5000);
  expect(shown.newer).toBe(7003 - (shown.events[0]?.version ?? 0));
  shown.show();
  expect(versions(shown.events)).toEqual(versions(from(2004, 5000).reverse()));
  await shown.more();
  expect(shown.events[5000]?.version).toBe(2003);
});

test("an error that ends it is kept, beside the events", async () => {
  const shown = new StreamEvents(streamOf([from(4, 1)], new Error("gone")), "s");
  await vi.runAllTimersAsync();
  expect(shown.error?.detail).toBe("gone");
  expect(versions(shown.events)).toEqual([4, 3, 2, 1]);
});
