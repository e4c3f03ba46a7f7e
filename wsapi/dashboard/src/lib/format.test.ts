import { expect, test } from "vitest";
import { ago, brief, bytes, count, ends, instant, marked, shownInstant, span, visible } from "./format.js";

test("numbers keep their places", () => {
  expect(count(2418903)).toBe("2,418,903");
  expect(count(undefined)).toBe("–");
  expect(brief(0.912)).toBe("0.91");
  expect(brief(41.25)).toBe("41.3");
  expect(bytes(1536)).toEqual(["1.5", "KiB"]);
  expect(bytes(12)).toEqual(["12", "B"]);
});

test("times are said in words", () => {
  expect([0, 59, 60, 3600, 90_000].map(span)).toEqual(["0 s", "59 s", "1 min", "1 h", "1 d"]);
  expect(ago("2026-11-30T00:00:00Z", Date.parse("2026-11-30T00:00:01Z"))).toBe("now");
  expect(ago("2026-11-30T00:00:00Z", Date.parse("2026-11-30T00:02:01Z"))).toBe("2 min ago");
});

test("what cannot be seen is made visible", () => {
  expect(visible("a\u202eb\u0000")).toBe("a\\u202eb\\u0000");
  expect(visible("ü\n\t漢")).toBe("ü\n\t漢");
  expect(ends("file-a/b.go")).toEqual(["file-a/", "b.go"]);
});

test("what was looked for is marked, and nothing is lost", () => {
  expect(marked("Order-order-1", "order")).toEqual(["", "Order", "-", "order", "-1"]);
  expect(marked("a", "b")).toEqual(["a"]);
  expect(marked("a", "")).toEqual(["a"]);
  expect(marked("xİİaİ", "İ").join("")).toBe("xİİaİ");
});

test("a time goes through a field, to the second", () => {
  expect(shownInstant("2026-03-01T12:30:15.123Z", true)).toBe("2026-03-01T12:30:15");
  expect(instant("2026-03-01T12:30:15", true)).toBe("2026-03-01T12:30:15.000Z");
  const time = "2026-07-01T23:59:59.000Z";
  expect(instant(shownInstant(time, false), false)).toBe(time);
  expect([shownInstant("", true), shownInstant("x", false), instant("", true)]).toEqual(["", "", undefined]);
});
