// The text messages of gyre.v1, which go test writes into wsapi/wire/testdata.

import { broken, type ErrorObject, type Expect, GyreError } from "./errors.js";
import { type Origin, type PreparedEvent, RecordedEvent } from "./event.js";
import { elementsOf, membersOf, toBase64 } from "./text.js";
import { formatTime } from "./time.js";

/** Which events are wanted. An empty or absent list matches everything; '*' stands for any run of characters. */
export interface Filter {
  /** Patterns of stream names; at most 64. */
  streams?: readonly string[];
  /** Patterns of event types; at most 64. */
  types?: readonly string[];
}

/**
 * Where to begin: at the first event of a position or version, or after one. A cursor is
 * a place in one particular log, behind an event, as a Follow gave it; a time means the
 * first event recorded at or after it; a progress is the stored place of that name, or the
 * start if there is none.
 */
export type From =
  | "start"
  | "end"
  | { readonly cursor: string }
  | { readonly position: number }
  | { readonly version: number }
  | { readonly after: { readonly position: number } | { readonly version: number } }
  | { readonly time: string }
  | { readonly progress: string };

export interface PreparedAppend {
  stream: string;
  expect: Expect;
  events: PreparedEvent[];
  /** Instead of events: ids of those to link, in the canonical form. */
  links?: string[] | undefined;
}

/** An expectation about a stream that a transaction does not write. */
export interface Check {
  stream: string;
  expect: Expect;
}

/**
 * Moves the client's own place in the log in the commit of an append: from the stored
 * position, 0 if there is none, to a greater one. Of two workers with the same place one wins,
 * and the other gets progress_conflict, whose actual is the place.
 */
export interface Progress {
  /** The name of the place: 1 to 256 bytes. */
  name: string;
  from: number;
  to: number;
  /** The log that from and to are places of: the part of a cursor before the dot. */
  log?: string | undefined;
  /** A UUID of this move, for an append without events; the client makes one if it is absent. */
  id?: string | undefined;
}

/** Where appended events are. */
export interface Appended {
  /** The version of the last event. */
  readonly version: number;
  /** The position of the last event. */
  readonly position: number;
  /** How many events there are. */
  readonly count: number;
}

export interface Amount {
  events: number;
  bytes: number;
}

export function helloText(name: string, version: string, compress: readonly string[], token: string | undefined): string {
  const accept = { batch: true, ...(compress.length > 0 && { compress }), owner: true };
  return JSON.stringify({ op: "hello", id: 1, client: { name, version }, ...(token && { auth: { token } }), accept });
}

export function refreshText(id: number, token: string): string {
  return JSON.stringify({ op: "refresh", id, token });
}

export function appendText(
  id: number,
  appends: readonly PreparedAppend[],
  checks: readonly Check[],
  timeoutMs: number | undefined,
  progress?: Progress,
): string {
  const moves = progress && JSON.stringify(progress, ["name", "from", "to", "log", "id"]);
  const end = `${moves ? `,"progress":${moves}` : ""}${timeoutMs === undefined ? "" : `,"timeoutMs":${timeoutMs}`}}`;
  const elements = appends.map(elementText);
  if (moves && elements.length + checks.length === 0) return `{"op":"append","id":${id}${end}`;
  if (elements.length === 1 && checks.length === 0) return `{"op":"append","id":${id},${elements[0]}${end}`;
  return `{"op":"append","id":${id},${transactionText(elements, checks)}${end}`;
}

/** The fields of an append. */
export function elementText(a: PreparedAppend): string {
  const what = a.links === undefined ? `"events":[${a.events.map(newEventText).join(",")}]` : `"links":${JSON.stringify(a.links)}`;
  return `"stream":${JSON.stringify(a.stream)},"expect":${JSON.stringify(a.expect)},${what}`;
}

/** The fields of several appends, each as elementText has it, and checks. */
export function transactionText(elements: readonly string[], checks: readonly Check[]): string {
  const tail = checks.length === 0 ? "" : `,"checks":${JSON.stringify(checks.map(({ stream, expect }) => ({ stream, expect })))}`;
  return `"tx":[${elements.map((e) => `{${e}}`).join(",")}]${tail}`;
}

function newEventText(e: PreparedEvent): string {
  let s = `{"id":"${e.id}","type":${JSON.stringify(e.type)}`;
  if (e.micros !== undefined) s += `,"time":"${formatTime(e.micros)}"`;
  s += typeof e.data === "string" ? `,"data":${e.data}` : `,"dataBase64":"${toBase64(e.data)}"`;
  if (e.contentType !== "") s += `,"contentType":${JSON.stringify(e.contentType)}`;
  if (e.metadata !== "") s += `,"metadata":${e.metadata}`;
  return `${s}}`;
}

/** Which events a page has; those that match all of it. A link is selected as the event that it names. */
export interface Selection {
  filter?: Filter | undefined;
  /** What the stream's name has before its first "-". */
  category?: string | undefined;
  /** The event's own time is at or after it: RFC 3339. */
  since?: string | Date | undefined;
  /** The event's own time is before it. */
  until?: string | Date | undefined;
  /** The correlation_id in the event's metadata. */
  correlation?: string | undefined;
}

export interface ReadFields extends Selection {
  stream: string;
  from?: number | undefined;
  fromTime?: string | Date | undefined;
  backward?: boolean | undefined;
  system?: boolean | undefined;
  limit?: number | undefined;
  bytes?: number | undefined;
  timeoutMs?: number | undefined;
  snapshot?: string | undefined;
}

export function readText(id: number, { stream, from, backward, ...rest }: ReadFields): string {
  return JSON.stringify({ op: "read", id, stream, from: from || undefined, dir: backward ? "backward" : undefined, ...rest });
}

export interface FollowFields {
  stream: string;
  from: From;
  filter?: Filter | undefined;
  system?: boolean | undefined;
  credit: Amount;
}

export function followText(id: number, sub: number, f: FollowFields): string {
  return JSON.stringify({
    op: "subscribe",
    id,
    sub,
    stream: f.stream,
    from: f.from,
    filter: f.filter && { types: f.filter.types, streams: f.filter.streams },
    system: f.system || undefined,
    credit: f.credit,
  });
}

export interface NamedFields {
  subscription: string;
  transient?: boolean | undefined;
  consumer?: string | undefined;
  workers?: number | undefined;
  bufferSize?: number | undefined;
  options?: object | undefined;
  anyOptions?: boolean | undefined;
  incarnation?: string | undefined;
  credit: Amount;
}

export function namedText(id: number, sub: number, f: NamedFields): string {
  const { credit, subscription, consumer, workers, bufferSize, options, incarnation } = f;
  const transient = f.transient || undefined;
  const anyOptions = f.anyOptions || undefined;
  return JSON.stringify({
    op: "subscribe",
    id,
    sub,
    credit,
    subscription,
    transient,
    consumer,
    workers,
    bufferSize,
    ack: "explicit",
    options,
    anyOptions,
    incarnation,
  });
}

export function creditText(sub: number, c: Amount): string {
  return JSON.stringify({ op: "credit", sub, events: c.events, bytes: c.bytes });
}

export function unsubscribeText(id: number, sub: number): string {
  return JSON.stringify({ op: "unsubscribe", id, sub });
}

/** What an ack is about: events by position, or all up to one. */
export type AckTarget = { readonly positions: readonly number[] } | { readonly upTo: number };

/** Of an ack: whether the answer waits until it is stored. */
export interface AckOptions {
  /** Settle when the ack is stored, which survives a crash of the server. It waits for earlier events to be finished, too. */
  durable?: boolean | undefined;
}

export function ackText(id: number, sub: number, t: AckTarget, durable: boolean): string {
  return JSON.stringify({ op: "ack", id, sub, ...t, durable: durable || undefined });
}

/** What happens to an event that was not handled: it is sent again, parked or skipped, or the subscription stops. */
export type NackAction = "retry" | "park" | "skip" | "stop";

export interface NackFields {
  action: NackAction;
  delayMs?: number | undefined;
  reason?: string | undefined;
}

export function nackText(id: number, sub: number, positions: readonly number[], n: NackFields): string {
  return JSON.stringify({ op: "nack", id, sub, positions, action: n.action, delayMs: n.delayMs, reason: n.reason });
}

export function extendText(id: number, sub: number, positions: readonly number[], ms: number): string {
  return JSON.stringify({ op: "extend", id, sub, positions, ms });
}

export function cancelText(id: number): string {
  return JSON.stringify({ op: "cancel", id });
}

export function pingText(op: "ping" | "pong", n: number): string {
  return JSON.stringify({ op, n });
}

export interface Welcome {
  op: "welcome";
  server: { version: string; node: string };
  session: string;
  log: string;
  limits: { frame: number; subs: number; inflight: number; creditEvents: number; creditBytes: number };
  ping: { intervalMs: number; timeoutMs: number };
  compress?: string;
  features: string[];
  nodes?: string[];
}

/** A recorded snapshot: the state that a client has made of a stream's events, up to a version. */
export interface RecordedSnapshot {
  readonly stream: string;
  readonly kind: string;
  /** Of the last event that the state is made of. */
  readonly version: number;
  /** Of the state, if it has one. */
  readonly type?: string;
  /** When it was recorded, by the clock of the node. */
  readonly recorded: string;
  readonly data?: unknown;
  /** In place of data, if that is not JSON. */
  readonly dataBase64?: string;
  readonly contentType?: string;
  readonly metadata: Record<string, unknown>;
}

export interface OK {
  op: "ok";
  id: number;
  version?: number;
  position?: number;
  count?: number;
  duplicate?: boolean;
  appends?: Appended[];
  /** The owner; absent: the node of the connection. */
  node?: string;
  events?: RecordedEvent[];
  next?: number;
  end?: boolean;
  scanned?: number;
  snapshot?: RecordedSnapshot;
  cursor?: string;
  head?: number;
  /** Of the named subscription that was joined. */
  incarnation?: string;
  state?: "live" | "catchup" | "no_quorum" | "moving" | "paused" | "stopped";
  reason?: string;
}

export interface Status {
  op: "status";
  sub: number;
  /** Named subscriptions can be paused, stopped and moving, too. */
  state: "live" | "catchup" | "checkpoint" | "no_quorum" | "moving" | "paused" | "stopped";
  /** Why it is stopped, or delivers nothing for now. */
  reason?: string;
  cursor: string;
  head: number;
}

/** Messages of a server. Those of other ops are passed over. */
export type ServerMessage =
  | Welcome
  | OK
  | Status
  | { op: "error"; id?: number; error: ErrorObject }
  | { op: "events"; sub: number; events: RecordedEvent[]; attempts?: number[]; replay?: boolean; cursor: string }
  | { op: "end"; sub: number; error: ErrorObject }
  | { op: "goaway"; reason: string; reconnectInMs: number; nodes?: string[] }
  | { op: "ping" | "pong"; n: number };

const serverOps: ReadonlySet<unknown> = new Set(["welcome", "ok", "error", "events", "status", "end", "goaway", "ping", "pong"]);

/** Decodes a message of a server; undefined if its op is not known. What is malformed is protocol_error. */
export function decodeMessage(text: string): ServerMessage | undefined {
  let m: Record<string, unknown>;
  try {
    m = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new GyreError("protocol_error", "a message is not JSON", { cause });
  }
  if (m === null || typeof m !== "object" || typeof m["op"] !== "string") throw broken('a message is an object with an "op"');
  if (!serverOps.has(m["op"])) return undefined;
  if (Array.isArray(m["events"])) {
    const parsed = m["events"] as Record<string, unknown>[];
    const texts = elementsOf(membersOf(text).get("events") as string);
    m["events"] = parsed.map((e, i) => eventOf(e, texts[i] as string));
    if (m["op"] === "events" && parsed[0]?.["attempt"] !== undefined) {
      m["attempts"] = parsed.map((e) => e["attempt"] ?? 1);
      m["replay"] = parsed[0]["replay"] === true;
    }
  }
  return m as unknown as ServerMessage;
}

/** An event object of a text, which keeps its data's literals. */
export function decodeEvent(text: string): RecordedEvent {
  return eventOf(JSON.parse(text) as Record<string, unknown>, text);
}

function linkOf(o: unknown): Origin | undefined {
  if (o === undefined) return undefined;
  const { stream, version, position } = (o ?? {}) as Record<string, unknown>;
  if (typeof stream !== "string" || typeof version !== "number" || typeof position !== "number") throw broken("a link is malformed");
  return { stream, version, position };
}

function eventOf(o: Record<string, unknown>, text: string): RecordedEvent {
  const strings = ["stream", "id", "type", "time", "recorded"].every((k) => typeof o[k] === "string");
  if (!strings || typeof o["version"] !== "number" || typeof o["position"] !== "number") throw broken("an event is malformed");
  const written = membersOf(text);
  const json = written.has("data");
  return new RecordedEvent({
    stream: o["stream"] as string,
    version: o["version"],
    position: o["position"],
    type: o["type"] as string,
    contentType: (o["contentType"] as string | undefined) ?? "",
    json,
    id: o["id"] as string,
    recorded: o["recorded"] as string,
    time: o["time"] as string,
    data: json ? (written.get("data") as string) : ((o["dataBase64"] as string | undefined) ?? ""),
    metadata: written.get("metadata") ?? "{}",
    link: linkOf(o["link"]),
  });
}
