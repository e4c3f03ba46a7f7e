import type { RecordedEvent } from "@gyre-events/client";
import { expect, test } from "vitest";
import { byPlugin, correlationOf, graph } from "./causes.js";

const event = (id: string, cause?: string, more: object = {}) =>
  ({ id, metadata: { ...(cause !== undefined && { causation_id: cause }), ...more } }) as unknown as RecordedEvent;

test("a graph has what led to an event, and what that caused", () => {
  const { nodes, rows } = graph(
    [event("a"), event("b", "a")],
    [event("c", "a"), event("b", "a"), event("d", "b"), event("e", "b"), event("x", "y"), event("f", "d")],
  );
  expect(nodes.map((n) => [n.event.id, n.x, n.y])).toEqual([
    ["a", 0, 1.25],
    ["b", 1, 0.5],
    ["c", 1, 2],
    ["d", 2, 0],
    ["e", 2, 1],
    ["f", 3, 0],
  ]);
  expect(rows).toBe(3);
});

test("a graph has an end", () => {
  const many = Array.from({ length: 100 }, (_, i) => event(`e${i}`, "a"));
  expect(graph([event("a")], many).nodes.length).toBe(14);
});

test("metadata that is not text causes nothing", () => {
  expect(graph([event("a", "a")], []).nodes[0]?.cause).toBeUndefined();
  expect(correlationOf(event("a", undefined, { correlation_id: 7 }))).toBeUndefined();
  expect([byPlugin(event("a")), byPlugin(event("a", "b", { causation_depth: 1 }))]).toEqual([false, true]);
});
