import { expect, test } from "vitest";
import { quantile } from "./quantile.js";

const histogram = (...counts: number[]) => ({
  count: counts.at(-1) as number,
  sum: 0,
  buckets: counts.map((count, i) => ({ le: 2 ** i, count })),
});

test("only what came between two looks counts", () => {
  const before = histogram(100, 100, 100);
  expect(quantile(0.5, before, before)).toBeUndefined();
  expect(quantile(0.5, before, histogram(110, 110, 110))).toBe(0.5);
  expect(quantile(0.99, before, histogram(100, 200, 200))).toBeCloseTo(1.99);
  expect(quantile(0.75, histogram(0, 0, 0), histogram(2, 2, 4))).toBe(3);
});

test("what passes the last bucket is said to be at its end", () => {
  expect(quantile(0.9, { ...histogram(0, 0), count: 0 }, { ...histogram(1, 1), count: 10 })).toBe(2);
});
