import { expect, test } from "vitest";
import { ageOf, ageText } from "./retention.js";

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
