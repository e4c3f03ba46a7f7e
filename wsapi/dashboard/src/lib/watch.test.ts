import { expect, test } from "vitest";
import { Watch } from "./watch.svelte.js";

const entry = (key: string, valueText: string) => ({ lane: 0, key, value: undefined, valueText });

test("what has changed is marked for a while", () => {
  const w = new Watch();
  w.take("a", [entry("x", "1"), entry("y", "1")], 0);
  expect(w.was.size).toBe(0);
  w.take("a", [entry("x", "2"), entry("y", "1"), entry("z", "1")], 1000);
  expect([...w.was]).toEqual([
    ["x", "1"],
    ["z", undefined],
  ]);
  expect(w.rate).toBe(0.2);
  w.take("a", [entry("x", "2"), entry("y", "1"), entry("z", "1")], 3000);
  expect(w.was.size).toBe(0);
  w.take("b", [entry("q", "1")], 3500);
  expect(w.was.size).toBe(0);
  expect(w.rate).toBe(0);
});
