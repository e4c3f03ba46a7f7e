import type { RecordedEvent } from "@gyre-events/client";

/** An event in the graph of what led to what. */
export interface Node {
  event: RecordedEvent;
  /** The one that caused it, if that is in the graph. */
  cause: Node | undefined;
  /** Its column and its row; a cause is in the middle of what it caused. */
  x: number;
  y: number;
}

/** Of how many events a graph is at most. */
const most = 14;

/** The id of the event that caused one, as its metadata says. */
export function causeOf(e: RecordedEvent): string | undefined {
  const id = e.metadata["causation_id"];
  return typeof id === "string" && id !== e.id ? id : undefined;
}

/** What events of one purpose share; undefined if an event has none. */
export function correlationOf(e: RecordedEvent): string | undefined {
  const id = e.metadata["correlation_id"];
  return typeof id === "string" ? id : undefined;
}

/** Reports whether a plugin has appended an event for another one. */
export const byPlugin = (e: RecordedEvent): boolean => Number(e.metadata["causation_depth"]) > 0;

/**
 * Puts events into columns: chain is what led to an event, the first cause first and the event
 * last; later are events after the first of them, in order, of which those are taken that one in
 * the graph has caused. It returns the nodes, and how many rows they take.
 */
export function graph(
  chain: readonly RecordedEvent[],
  later: readonly RecordedEvent[],
): { nodes: Node[]; rows: number } {
  const nodes: Node[] = [];
  const byId = new Map<string, Node>();
  const add = (event: RecordedEvent, cause: Node | undefined) => {
    const node: Node = { event, cause, x: cause === undefined ? 0 : cause.x + 1, y: 0 };
    nodes.push(node);
    byId.set(event.id, node);
    return node;
  };
  let last: Node | undefined;
  for (const event of chain) last = add(event, last);
  for (const event of later) {
    const cause = byId.get(causeOf(event) ?? "");
    if (cause !== undefined && !byId.has(event.id) && nodes.length < most) add(event, cause);
  }
  return { nodes, rows: place(nodes) };
}

/** Gives each node a row: the leaves in order, and each cause in the middle of its effects. */
function place(nodes: readonly Node[]): number {
  const effects = new Map<Node | undefined, Node[]>();
  for (const n of nodes) effects.set(n.cause, [...(effects.get(n.cause) ?? []), n]);
  let rows = 0;
  const put = (node: Node) => {
    const below = effects.get(node) ?? [];
    for (const n of below) put(n);
    const [first, end] = [below[0], below.at(-1)];
    node.y = first === undefined || end === undefined ? rows++ : (first.y + end.y) / 2;
  };
  for (const root of effects.get(undefined) ?? []) put(root);
  return rows;
}
