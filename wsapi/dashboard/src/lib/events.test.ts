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

const event = (version: number) => ({ version, isJSON: true, dataBytes: new Uint8Array(1000) }) as RecordedEvent;
const from = (first: number, n: number) => Array.from({ length: n }, (_, i) => event(first + i));
const versions = (events: readonly { version: number }[]) => events.map((e) => e.version);

/** A stream of some events, three if nothing is said, to which batches come. */
function streamOf(batches: readonly RecordedEvent[][], fail?: Error, had = 3): Client {
  const read = async (_: string, o: { from?: number; limit: number; backward?: boolean }) => {
    if (!o.backward) return { events: from(o.from ?? 1, o.limit), end: false };
    const last = o.from ?? had;
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
  expect(versions(shown.events)).toEqual(versions(from(1, 5000).reverse()));
  expect([shown.above, shown.end, shown.version]).toEqual([1003, true, 6003]);
});

test("a part of a long stream is kept, wherever somebody looks", async () => {
  const shown = new StreamEvents(streamOf([], undefined, 20_000), "s");
  await vi.runAllTimersAsync();
  for (let i = 0; i < 20; i++) await shown.more();
  expect([shown.events.length, shown.above, shown.events.at(-1)?.version]).toEqual([5000, 5200, 9801]);
  await shown.before(5190);
  expect([shown.events.length, shown.above, shown.events.at(-1)?.version]).toEqual([5000, 4700, 10_301]);
  await shown.before(1000); // far above it
  expect([shown.above, shown.events[0]?.version, shown.events.length]).toEqual([750, 19_250, 500]);
  await shown.before(0);
  expect([shown.above, shown.events[0]?.version, shown.events.length]).toEqual([0, 20_000, 500]);
  await shown.before(0);
  await shown.more();
  expect(versions(shown.events)).toEqual(versions(from(19_001, 1000).reverse()));
});

test("new ones are shown without a gap to somebody who comes from far below", async () => {
  const shown = new StreamEvents(streamOf([from(20_001, 2)], undefined, 20_000), "s");
  vi.stubGlobal("scrollY", 99);
  await vi.runAllTimersAsync();
  for (let i = 0; i < 20; i++) await shown.more();
  expect([shown.above, shown.newer]).toEqual([5200, 2]);
  shown.show();
  expect([versions(shown.events), shown.above, shown.newer, shown.end]).toEqual([[20_002, 20_001], 0, 0, false]);
  await shown.more();
  expect(versions(shown.events)).toEqual(versions(from(19_501, 502).reverse()));
});

test("of an event so much is kept as a line shows", async () => {
  const shown = new StreamEvents(streamOf([]), "s");
  await vi.runAllTimersAsync();
  expect(shown.events.map((e) => e.text.length)).toEqual([300, 300, 300]);
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
  expect([shown.events.at(-1)?.version, shown.events.length, shown.above]).toEqual([1504, 5000, 500]);
});

test("an error that ends it is kept, beside the events", async () => {
  const shown = new StreamEvents(streamOf([from(4, 1)], new Error("gone")), "s");
  await vi.runAllTimersAsync();
  expect(shown.error?.detail).toBe("gone");
  expect(versions(shown.events)).toEqual([4, 3, 2, 1]);
});
