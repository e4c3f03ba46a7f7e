import { expect, test } from "vitest";
import type { PluginBinding, PluginVersion } from "@gyre-events/client/admin";
import { configOf, limitFields, Wish } from "./deploy.svelte.js";

const version: PluginVersion = {
  plugin: "words",
  version: "2.0.0",
  sha256: "",
  bytes: 1,
  uploaded: "2026-01-01T00:00:00Z",
  report: {},
  manifest: {
    name: "words",
    version: "2.0.0",
    abi: "gyre_1",
    kind: "handler",
    capabilities: ["state", "append:out-*", "http:example.com:443", "secret:KEY"],
    limits: { timeMs: 200 },
    subscription: { stream: "in" },
    config: { n: 1 },
    configText: '{"n":1}',
  },
};
const defaults = {
  memoryBytes: 64 << 20,
  fuel: 500e6,
  timeMs: 1000,
  initMs: 5000,
  batchEvents: 64,
  stateBytes: 256 << 20,
};

test("a new binding is what the manifest wishes, and is granted nothing beyond the store", () => {
  const wish = new Wish(version, undefined, defaults);
  expect(wish.grants).toEqual(["state", "append:out-*"]);
  expect(wish.asks).toHaveLength(4);
  wish.from = "end";
  const d = wish.deploy();
  expect(d).toMatchObject({ plugin: "words", lanes: 1, input: { stream: "in", from: "end" }, limits: { timeMs: 200 } });
  expect(d.limits?.fuel).toBe(500e6);
  expect(d.configText).toBeUndefined();
});

test("a binding keeps what was not changed", () => {
  const binding = {
    binding: "w",
    grants: ["state", "append:old-*"],
    limits: { ...defaults, timeMs: 77 },
    configText: '{"n":9007199254740993}',
    onError: { attempts: 3, minMs: 10, maxMs: 20, then: "stop" },
  } as unknown as PluginBinding;
  const wish = new Wish(version, binding, defaults);
  expect(wish.config).toBe('{\n  "n": 9007199254740993\n}');
  expect(wish.deploy().configText).toBeUndefined();
  expect(wish.asks).toContain("append:old-*");
  wish.grant("append:old-*", false);
  wish.grant("append:out-*", true);
  wish.config = '{"n": 9007199254740995}';
  const d = wish.deploy();
  expect(d).toMatchObject({
    grants: ["state", "append:out-*"],
    configText: '{"n": 9007199254740995}',
    limits: { timeMs: 77 },
  });
  expect(d).toMatchObject({ onError: { attempts: 3, minMs: 10, maxMs: 20, then: "stop" } });
  expect(d.input).toBeUndefined();
});

test("a config is an object, and its numbers are kept", () => {
  expect(configOf(' {"a":[9007199254740993,2.50]} ')).toBe('{"a":[9007199254740993,2.50]}');
  expect(configOf("")).toBe("{}");
  expect(() => configOf("[1]")).toThrow(/no object/);
  expect(() => configOf("{")).toThrow(/no JSON/);
  expect(() => configOf('{},"grants":["state"]')).toThrow(/no JSON/);
});

test("a validator is deployed for patterns, without grants, lanes and a place", () => {
  const manifest = { ...version.manifest, kind: "validate" as const, capabilities: [], limits: {} };
  const wish = new Wish({ ...version, manifest }, undefined, defaults);
  expect([wish.streams, wish.limits["timeMs"], wish.then]).toEqual(["in", 10, "refuse"]);
  expect(limitFields("validate").map((f) => f.name)).toEqual(["memoryBytes", "timeMs", "fuel", "initMs"]);
  wish.streams = "order-*,  basket-*";
  const d = wish.deploy();
  expect(d).toMatchObject({ grants: [], onError: { then: "refuse" }, limits: { timeMs: 10 } });
  expect(d.input).toEqual({ filter: { streams: ["order-*", "basket-*"], types: [] } });
  expect(d.lanes).toBeUndefined();
});
