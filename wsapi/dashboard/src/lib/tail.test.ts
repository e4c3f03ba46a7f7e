import type { Batch, Client, RecordedEvent } from "@gyre-events/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Tail, wanted } from "./tail.svelte.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", { hidden: false });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A log to which events come at once, and then no more. */
function logOf(events: readonly RecordedEvent[]): Client {
  const follow = () => ({
    async *batches() {
      yield { events, cursor: "", head: events.length, live: true } as unknown as Batch;
    },
  });
  return { follow } as unknown as Client;
}

const event = (position: number, dataText: string) => ({ position, dataText, isJSON: true }) as RecordedEvent;

test.each([
  ["what does not match is not passed over", "EUR", 10, 0],
  ["what is too much is", "USD", 200, 790],
])("%s", async (_, text, shown, passed) => {
  const events = Array.from({ length: 1000 }, (_, i) => event(i + 1, i < 10 ? "EUR" : "USD"));
  const tail = new Tail(logOf(events), wanted(text));
  await vi.advanceTimersByTimeAsync(1000);
  expect([tail.arriving, tail.shown, tail.passed]).toEqual([1000, shown, passed]);
  tail.close();
});
