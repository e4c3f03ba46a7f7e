import { expect, test, vi } from "vitest";
import { Track } from "./track.svelte.js";

test("the rate of all is of those that are there", () => {
  vi.useFakeTimers();
  const track = new Track();
  const look = (names: string[], total: number) => {
    for (const name of names) track.add(name, 0, total);
    track.keep(new Set(names));
    vi.advanceTimersByTime(1000);
  };
  look(["a", "b"], 0);
  look(["a", "b"], 10);
  expect([track.rate(), track.rate("a"), track.of("a").length]).toEqual([20, 10, 2]);
  look(["b"], 20);
  expect([track.rate(), track.rate("a"), track.of("a").length]).toEqual([10, 0, 0]);
  vi.useRealTimers();
});
