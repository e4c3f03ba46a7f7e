import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { poll } from "./poll.js";

const page = { hidden: false };
beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", page);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a look waits for the last one, and for the page to be seen", async () => {
  let looks = 0;
  let signal: AbortSignal | undefined;
  const end = poll(async (s) => {
    looks++;
    signal = s;
    await new Promise((done) => setTimeout(done, looks === 1 ? 2500 : 10));
  }, 1000);
  await vi.advanceTimersByTimeAsync(2400);
  expect(looks).toBe(1);
  await vi.advanceTimersByTimeAsync(700);
  expect(looks).toBe(2);
  page.hidden = true;
  await vi.advanceTimersByTimeAsync(5000);
  expect(looks).toBe(2);
  page.hidden = false;
  await vi.advanceTimersByTimeAsync(1000);
  expect(looks).toBe(3);
  end();
  await vi.advanceTimersByTimeAsync(5000);
  expect([looks, signal?.aborted]).toEqual([3, true]);
});
