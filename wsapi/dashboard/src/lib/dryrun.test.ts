import type { PluginDeed, PluginDryRunResult } from "@gyre-events/client/admin";
import { expect, test } from "vitest";
import { askedOf, bucketsOf, commandOf, contentText, deedText, differenceWord } from "./dryrun.js";

const outputs = (buckets: number[], bucketSize: number) => ({
  outputs: { count: 0, streams: { names: [] }, types: { names: [] }, buckets, bucketSize, first: [] },
});
const result = (more: object) =>
  ({ binding: "b", from: 10, to: 19, events: 9, seconds: 1, ...more }) as PluginDryRunResult;

test("an address asks for what its form has", () => {
  const asked = askedOf(new URLSearchParams("view=dry-run&against=1.0&from=7&to=x&count=30&state=before"), "2.0");
  expect(asked).toEqual({ version: "2.0", against: "1.0", from: 7, count: 30, state: "before", show: 100 });
  expect(commandOf("a b", asked)).toBe(
    "gyre plugin dry-run 'a b' --version 2.0 --against 1.0 --from 7 --count 30 --state before",
  );
  expect(askedOf(new URLSearchParams("state=other&against="), "2.0")).toEqual({
    version: "2.0",
    state: "empty",
    show: 100,
  });
});

test("both versions are counted in parts of the larger size, to the end of the range", () => {
  const buckets = bucketsOf(
    result({
      tried: outputs([1, 2, 3, 4], 2),
      against: outputs([5, 6], 4),
      differences: { first: [{ position: 19 }] },
    }),
  );
  expect(buckets).toEqual([
    { from: 10, to: 13, tried: 3, against: 5, differs: false },
    { from: 14, to: 17, tried: 7, against: 6, differs: false },
    { from: 18, to: 19, tried: 0, against: 0, differs: true },
  ]);
  expect(bucketsOf(result({ from: 10, to: 9, tried: outputs([], 1) }))).toEqual([]);
});

test("values are JSON, or bytes", () => {
  expect(contentText({ value: { n: 1 }, valueText: '{"n":1}' })).toBe('{"n":1}');
  expect(contentText({ value: null, valueText: "null" })).toBe("null");
  expect(contentText({ valueBase64: "AP8=" })).toBe("00 ff");
  expect(contentText({ valueBase64: "" })).toBe("no bytes");
  expect(contentText({})).toBeUndefined();
  expect(contentText(undefined)).toBeUndefined();
});

test("numbers that JavaScript has not are compared as they were written", () => {
  const deed = (n: string): PluginDeed => {
    const written = { value: { n: Number(n) }, valueText: `{"n":${n}}` };
    const metadata = { metadata: { n: Number(n) }, metadataText: `{"causation_depth":1,"n":${n}}` };
    const output = { stream: "s", type: "T", expected: -1, id: "", ...written, ...metadata };
    return { fate: "acked", outputs: [output], writes: [{ key: "k", ...written }, { key: "gone" }] };
  };
  const [tried, against] = [deed("9007199254740993"), deed("9007199254740992")];
  expect(deedText(tried)).toBe(
    '{"fate":"acked","appends":[{"stream":"s","type":"T","data":{"n":9007199254740993},"metadata":' +
      '{"n":9007199254740993}}],"state":{"k":{"n":9007199254740993},"gone":"(deleted)"}}',
  );
  expect(differenceWord({ position: 1, stream: "s", type: "T", lane: 0, tried, against }, "2", "1")).toBe(
    "appends differ",
  );
});
