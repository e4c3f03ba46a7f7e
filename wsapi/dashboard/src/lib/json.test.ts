import type { RecordedEvent } from "@gyre-events/client";
import { expect, test } from "vitest";
import { objectText, pieces, pretty } from "./json.js";

test("numbers are shown as they were written", () => {
  const text = '{"a":9007199254740993,"b":[1.10,1e400]}';
  expect(pretty(text)).toBe('{\n  "a": 9007199254740993,\n  "b": [\n    1.10,\n    1e400\n  ]\n}');
});

test("an event is exported with its numbers as they were written", () => {
  const event = {
    isJSON: true,
    dataText: '{"n":9007199254740993}',
    metadataText: '{"m":1.10}',
    toJSON: () => ({ stream: "s", data: { n: 9007199254740992 }, metadata: { m: 1.1 } }),
  } as unknown as RecordedEvent;
  expect(objectText(event)).toBe('{"stream":"s","data":{"n":9007199254740993},"metadata":{"m":1.10}}');
});

test("what is no JSON stays as it is", () => {
  expect(pretty("{")).toBe("{");
});

test("a line has keys, strings and other values", () => {
  expect(pieces('  "a\\"b": "c: 1",').map((p) => [p.kind, p.text])).toEqual([
    ["", "  "],
    ["k", '"a\\"b"'],
    ["", ":"],
    ["", " "],
    ["q", '"c: 1"'],
    ["", ","],
  ]);
  expect(pieces("  -1.5e3, null").map((p) => p.kind)).toEqual(["", "m", "", "m"]);
});
