import { expect, test } from "vitest";
import { ageOf, ageText, clearable, nameOf, targetOf } from "./retention.js";

test("ages are written and read", () => {
  for (const [ms, text] of [
    [30 * 86_400_000, "30d"],
    [90 * 60_000, "90m"],
    [1000, "1s"],
    [1500, "1500 ms"],
  ] as const) {
    expect(ageText(ms)).toBe(text);
    expect(ageOf(text)).toBe(ms);
  }
  expect([ageText(undefined), ageOf("30"), ageOf("x"), ageOf("-1d")]).toEqual(["", undefined, undefined, undefined]);
});

test("policies are of a stream or a category, and cleared of what is not for good", () => {
  const revision = 1;
  const names = [
    { stream: "order-1", revision },
    { category: "order", revision },
  ].map((p) => nameOf(targetOf(p)));
  expect(names).toEqual(["order-1", "category order"]);
  const policies = [{ maxAgeMs: 1000 }, { maxCount: 1, truncateBefore: 2 }, { truncateBefore: 2 }];
  expect(policies.map((p) => clearable({ ...p, revision }))).toEqual([true, true, false]);
});
