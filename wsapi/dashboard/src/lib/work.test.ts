import { expect, test } from "vitest";
import { between, type Look, nothing } from "./work.svelte.js";

const look = (at: number, n: number): Look => ({
  at,
  lag: 0,
  checkpoint: 0,
  memoryBytes: 0,
  totals: { batches: n, events: 10 * n, appended: 2 * n, fuel: 1000 * n, seconds: 0.002 * n },
});

test("what was done between two looks", () => {
  expect(between(look(0, 0), look(2000, 100))).toEqual({ events: 500, appended: 100, ms: 2, fuel: 1000, busy: 0.1 });
});

test("nothing was done: no batch, one look, or a binding that began anew", () => {
  expect(between(look(0, 5), look(2000, 5))).toEqual(nothing);
  expect(between(undefined, look(2000, 5))).toEqual(nothing);
  expect(between(look(0, 5), look(2000, 1))).toEqual(nothing);
});
