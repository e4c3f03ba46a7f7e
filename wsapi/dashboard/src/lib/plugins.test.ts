import { expect, test } from "vitest";
import type { PluginBinding } from "@gyre-events/client/admin";
import { agreement, ill, judges, shapersOf, stateShape, stateWord } from "./plugins.js";

test("a version in the shadow agrees wholly only if no event differs", () => {
  expect(agreement({ events: 0, differ: 0 })).toBe("–");
  expect(agreement({ events: 3, differ: 0 })).toBe("100 %");
  expect(agreement({ events: 10_000_000, differ: 1 })).toBe("99.999 %");
  expect(agreement({ events: 3, differ: 1 })).toBe("66.6 %");
  expect(agreement({ events: 3, differ: 3 })).toBe("0 %");
});

test("a validator that is paused is not in force, and needs a look", () => {
  const binding = (more: object) => ({ kind: "validate", lag: 0, ...more }) as PluginBinding;
  const paused = binding({ state: "paused" });
  expect([stateWord(paused), stateShape(paused), ill(paused)]).toEqual(["not in force", "blocked", true]);
  expect(stateWord(binding({ state: "broken" }))).toBe("not in force, broken");
  expect(stateWord(binding({ state: "running" }))).toBe("running");
  expect(ill(binding({ kind: "handler", state: "paused" }))).toBe(false);
  expect(judges({ filter: { streams: ["a-*", "b"], types: ["T"] } })).toBe("a-*, b · types T");
  expect(judges({ stream: "in" })).toBe("in");
});

test("a definition names plugins in three places", () => {
  expect(shapersOf({ filter: { plugin: "f@1" }, map: { plugin: "m@1" }, partitionBy: "plugin:p@1" })).toEqual([
    "f@1",
    "m@1",
    "p@1",
  ]);
  expect(shapersOf({ map: null, partitionBy: "stream" })).toEqual([]);
});
