import { parseAddresses } from "./address.js";
import { type ConnectionState, type Limits, limits, requestMs, type Token, within } from "./connection.js";
import { abortError, broken, type Expect, GyreError } from "./errors.js";
import { type NewEvent, prepare, type RecordedEvent } from "./event.js";
import { Follow, type FollowOptions } from "./follow.js";
import { commitFrame } from "./frames.js";
import { newId, parseId } from "./id.js";
import { type Answer, Link } from "./link.js";
import {
  type Appended,
  appendText,
  type Check,
  decodeEvent,
  type PreparedAppend,
  type Progress,
  type RecordedSnapshot,
  readText,
  type Selection,
} from "./messages.js";
import { Nodes } from "./nodes.js";
import type { WebSocketConstructor } from "./session.js";
import { type SubscribeOptions, Subscriber } from "./subscriber.js";
import { wellFormed } from "./text.js";

const version = "0.0.0";

/** How to reach a node. */
export interface ConnectOptions extends Limits {
  /** Who calls, for the server; "gyre-js" if absent. */
  name?: string | undefined;
  /** Speak gyre.v1.json, which can be read on the wire, instead of gyre.v1.bin. */
  json?: boolean | undefined;
  /** Have the server compress the events it sends, where both can: for slow networks. It takes time at both ends. */
  compress?: boolean | undefined;
  /**
   * The key, where the node has any; or a function that returns one, which is called for each
   * connection and each request over HTTP. It is sent in hello and in the Authorization header,
   * never in a URL. If a node refuses it, connect rejects, and a client ends, with unauthenticated
   * or forbidden.
   */
  token?: Token | undefined;
  /** Headers of HTTP requests: a page with a session sends its Gyre-CSRF. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** What makes WebSockets, if not the platform's: Node before 22 has none, and takes that of package ws. */
  WebSocket?: WebSocketConstructor | undefined;
  /** Is called when the connection is made or lost. */
  onState?: ((s: ConnectionState) => void) | undefined;
}

/** How to append. */
export interface AppendOptions extends Limits {
  /** The version that the stream has to be at; "any" if absent. */
  expect?: Expect | undefined;
  /** Also moves a place, all or nothing. */
  progress?: Progress | undefined;
}

/** The answer to an append. */
export interface AppendResult extends Appended {
  /** The events had been written before, by an earlier try; nothing was written now. */
  readonly duplicate: boolean;
  /** The name of the node that owns the stream, or of the only one. */
  readonly node: string;
}

/** An append of a transaction: events, or links to events. */
export interface Append {
  stream: string;
  events?: readonly NewEvent[] | undefined;
  /** Ids of events that are in the log, or are written by an append before this one. */
  links?: readonly string[] | undefined;
  /** The version that the stream has to be at; "any" if absent. */
  expect?: Expect | undefined;
}

/** How to write a transaction. */
export interface TransactOptions extends Limits {
  /** What has to be true of other streams. */
  checks?: readonly Check[] | undefined;
  /** Also moves a place; there need not be an append. */
  progress?: Progress | undefined;
}

/** The answer to a transaction. */
export interface TransactResult {
  /** One for each append. */
  readonly appends: readonly Appended[];
  /** The position of the last event. */
  readonly position: number;
  /** The events had been written before; nothing was written now. */
  readonly duplicate: boolean;
  /** The name of the node that owns the first stream, or of the only one. */
  readonly node: string;
}

/** Where to read, and in which direction. */
export interface ReadRange extends Selection {
  /** The first version, or position of "$all", inclusive. Absent or 0: the first, or the last when backward. "start" is the first, forward. */
  from?: number | "start" | undefined;
  /** In place of from: the first event recorded at or after a time; when backward, the last one at or before it. */
  fromTime?: string | Date | undefined;
  /** From later to earlier. */
  backward?: boolean | undefined;
  /** Of "$all": the events of the system's streams, whose names begin with "$", are read, too. */
  system?: boolean | undefined;
}

/** How to read a page. */
export interface ReadOptions extends ReadRange, Limits {
  /** How many events it may have: 100 if absent, at most 1000. */
  limit?: number | undefined;
  /** How many bytes of events it may have; one event may pass it. */
  bytes?: number | undefined;
  /** The kind of a snapshot, such as "default": the page begins behind it, forward. */
  snapshot?: string | undefined;
}

/** How to read all of a stream. */
export interface ReadAllOptions extends ReadRange, Limits {
  /** How many events to ask for at a time: 500 if absent, at most 1000. */
  pageSize?: number | undefined;
}

/** A part of a stream. */
export interface Page {
  /** The snapshot that the events follow, if one was asked for and there is one. */
  readonly snapshot?: RecordedSnapshot | undefined;
  readonly events: readonly RecordedEvent[];
  /** The from of the next page in the same direction; undefined if there is none, at the first event. */
  readonly next: number | undefined;
  /** There is nothing further in this direction, for now. Without it, a page of a selection may be empty: go on. */
  readonly end: boolean;
  /** How many versions, or positions of "$all", the page of a selection reaches over. */
  readonly scanned: number;
  /** The version of the stream, or the head of "$all". */
  readonly version: number;
  /** The position of the log up to which the page is complete. */
  readonly head: number;
}

/** The description of a node. */
export interface ServerInfo {
  readonly version: string;
  readonly node: string;
  /** The identity of the log. */
  readonly log: string;
  /** The last position of the log. */
  readonly head: number;
  readonly features: readonly string[];
}

/** Which streams to list, and in which order. */
export interface StreamsOptions extends Limits {
  /** What the names have to begin with. */
  prefix?: string | undefined;
  /** What the names have to end with. */
  suffix?: string | undefined;
  /** A pattern that the names have to match; "*" stands for any run of characters. */
  match?: string | undefined;
  /** In the byte order of the names, which is the default, or of the places of the first or the last events. */
  sort?: "name" | "created" | "changed" | undefined;
  /** In the opposite order. */
  desc?: boolean | undefined;
  /** Only streams of this state; live and deleted ones if absent. Tombstoned ones are in the order of their tombstones, which `changed` is. */
  state?: StreamInfo["state"] | undefined;
  /** With `created` and `changed` of every stream. */
  details?: boolean | undefined;
  /** With `total`. */
  totals?: boolean | undefined;
  /** The cursor of the page before. */
  cursor?: string | undefined;
  /** How many: 100 if absent, at most 1000. */
  limit?: number | undefined;
  /** The system's streams, whose names begin with "$", are listed, too. */
  system?: boolean | undefined;
}

/** Where and when an event was recorded. */
export interface StreamPlace {
  readonly position: number;
  readonly recorded: string;
}

/** What a stream is. */
export interface StreamInfo {
  readonly name: string;
  /** The version of the last event; of "$all" the head. */
  readonly version: number;
  /** The version of the first event that can be read. */
  readonly first: number;
  /** How many versions there are from the first on. */
  readonly count: number;
  readonly state: "live" | "deleted" | "tombstoned";
  /** The first event. */
  readonly created?: StreamPlace;
  /** The last event. */
  readonly changed?: StreamPlace;
  /** What of the stream expires, by its policy and that of its category; absent if nothing does. */
  readonly retention?: { readonly maxAgeMs?: number; readonly maxCount?: number; readonly truncateBefore?: number };
}

/** A part of a list of streams. It may have fewer than asked for, or none, though it is not the last one. */
export interface StreamsPage {
  readonly streams: readonly StreamInfo[];
  /** Where the next page begins; absent at the end. */
  readonly cursor?: string;
  /** There are no more. */
  readonly end: boolean;
  /** How many names or entries of the log the page was chosen from. */
  readonly looked?: number;
  /** How many streams all pages have. */
  readonly total?: { readonly streams: number; readonly atLeast?: boolean };
}

/** A stored place: see {@link Progress}. */
export interface ProgressInfo {
  readonly name: string;
  /** Everything up to here is done. */
  readonly position: number;
  /** The same, where a follow goes on. */
  readonly cursor: string;
  /** The identity of the log that it is a place of. */
  readonly log: string;
  /** Positions to the head of the log. */
  readonly lag: number;
  /** When it was moved last, in RFC 3339. */
  readonly moved: string;
  /** The id of the last move, if that had one. */
  readonly id?: string;
}

/**
 * Connects to a node: an http, https, ws or wss URL, host:port, or :port of this machine. A
 * list, or commas, give the addresses of several nodes of one ring; the first that answers is
 * taken. It rejects with unavailable if nothing answers. Later the client reconnects by itself.
 */
export async function connect(url: string | readonly string[], o: ConnectOptions = {}): Promise<Client> {
  const nodes = new Nodes(parseAddresses(url));
  const WebSocket = o.WebSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket;
  if (WebSocket === undefined) {
    throw new GyreError("invalid_config", "no WebSocket: pass that of package ws");
  }
  const { name = "gyre-js", json = false, compress = false, token, headers } = o;
  const link = new Link(nodes, { WebSocket, name, version, json, compress, token, headers }, o.onState);
  const ms = limits(o).timeoutMs ?? requestMs;
  await link.dial(within(ms, o.signal), ms);
  return new Client(link);
}

/** The link of a client, for the other entries of the package. @internal */
export let linkOf: (client: Client) => Link;

/**
 * A client of a node, made by {@link connect}. One connection carries everything. When
 * it breaks the client reconnects with jittered, growing backoff, until close: follows go
 * on after the last event that arrived, and appends in flight are sent again with the
 * ids they have, so that nothing is written twice. Of several nodes it goes to the next when
 * its own is gone. Errors are {@link GyreError}.
 */
export class Client {
  readonly #link: Link;

  static {
    linkOf = (client) => client.#link;
  }

  /** @internal */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Whether there is a connection at the moment. */
  get connected(): boolean {
    return this.#link.connected;
  }

  /**
   * Appends events to a stream, all or none. Appends to one stream are applied in the
   * order of the calls; there is no need to wait for the one before. Without an answer
   * it rejects with unknown_outcome: a retry with the same ids writes nothing twice.
   */
  async append(stream: string, events: NewEvent | readonly NewEvent[], o: AppendOptions = {}): Promise<AppendResult> {
    const list = Array.isArray(events) ? (events as readonly NewEvent[]) : [events as NewEvent];
    return this.#one({ stream, events: list }, o);
  }

  /**
   * Links events into a stream, by their ids, all or none: each takes a version there,
   * and is read there as the event that it names. An event is in a stream once at most.
   * It is as safe to try again as an append.
   */
  async link(stream: string, ids: string | readonly string[], o: AppendOptions = {}): Promise<AppendResult> {
    return this.#one({ stream, links: typeof ids === "string" ? [ids] : ids }, o);
  }

  /** Appends to several streams, with checks of others and the move of a place, all or nothing. */
  transact(appends: readonly Append[], o: TransactOptions = {}): Promise<TransactResult> {
    return this.#write(appends, o.checks ?? [], o, o.progress);
  }

  async #one(append: Append, o: AppendOptions): Promise<AppendResult> {
    const { appends, ...rest } = await this.#write([{ ...append, expect: o.expect }], [], o, o.progress);
    return { ...(appends[0] as Appended), ...rest };
  }

  async #write(appends: readonly Append[], checks: readonly Check[], o: Limits, moves?: Progress): Promise<TransactResult> {
    const progress = moves && prepareProgress(moves, appends.length === 0);
    const prepared = appends.map(prepareAppend);
    for (const c of checks) {
      wellFormed(c.stream, "invalid_stream_name", "a stream's name");
      checkExpect(c.expect);
    }
    const encode = this.#link.bin ? commitFrame : appendText;
    const l = limits(o);
    const answer = await this.#link.request({
      ...l,
      append: true,
      moves: appends.length === 0,
      needs: progress && "progress",
      encode: (id) => encode(id, prepared, checks, l.timeoutMs, progress),
    });
    return resultOf(answer, prepared.length);
  }

  /** Reads a page of a stream, or of "$all". A stream without events is stream_not_found. */
  async read(stream: string, o: ReadOptions = {}): Promise<Page> {
    wellFormed(stream, "invalid_stream_name", "a stream's name");
    const from = (o.from === "start" && !o.backward ? 0 : o.from) as number | undefined;
    for (const n of [from, o.limit, o.bytes]) {
      if (n !== undefined && !(Number.isSafeInteger(n) && n >= 0)) {
        throw new GyreError("invalid_request", `${n} is no whole number`);
      }
    }
    const { signal, ...fields } = { ...o, ...limits(o), stream, from };
    const { snapshot: kind, filter, category, since, until, correlation, fromTime } = o;
    const selects = filter || category || since || until || correlation || fromTime;
    const needs = kind ? "snapshots" : selects && "selections";
    const { timeoutMs } = fields;
    const { ok, events } = await this.#link.request({ signal, timeoutMs, needs, encode: (id) => readText(id, fields) });
    if (ok === undefined) throw broken("a wrong answer to a read");
    const { next, end = false, version = 0, head = 0, scanned = 0, snapshot } = ok;
    return { events: events ?? [], next, end, version, head, scanned, snapshot };
  }

  /** Reads the events of a stream, or of "$all", page by page up to the end. */
  async *readAll(stream: string, o: ReadAllOptions = {}): AsyncGenerator<RecordedEvent, void, undefined> {
    const { pageSize = 500, ...range } = o;
    for (let from = o.from; ; ) {
      const page = await this.read(stream, { ...range, limit: pageSize, from, fromTime: from ? undefined : o.fromTime });
      yield* page.events;
      if (page.end) return;
      from = page.next;
    }
  }

  /**
   * Follows a stream, or "$all": the stored events, then new ones. It waits for a stream
   * that has no events yet. Its loop throws the errors.
   */
  follow(stream: string, o: FollowOptions = {}): Follow {
    wellFormed(stream, "invalid_stream_name", "a stream's name");
    if (o.signal?.aborted) throw abortError(o.signal);
    return new Follow(this.#link, stream, o);
  }

  /** Joins a named subscription, or creates it. Its loop throws the errors. */
  subscribe(subscription: string, o: SubscribeOptions = {}): Subscriber {
    if (o.signal?.aborted) throw abortError(o.signal);
    return new Subscriber(this.#link, subscription, o);
  }

  /**
   * Goes on with another token, on the present connection and later. Its key must have the role and
   * the patterns of the one before. If the node refuses it, the client keeps the one that it had.
   * A connection ends with its key; the next one is made with the newest token.
   */
  refresh(token: Token, o: Limits = {}): Promise<void> {
    return this.#link.refresh(token, limits(o));
  }

  /** Returns the node's description. */
  async server(o: Limits = {}): Promise<ServerInfo> {
    return JSON.parse(await this.#link.fetch("/v1/server", {}, limits(o))) as ServerInfo;
  }

  /** Returns the event with an id; event_not_found if there is none. */
  async event(id: string, o: Limits = {}): Promise<RecordedEvent> {
    return decodeEvent(await this.#link.fetch(`/v1/events/${encodeURIComponent(id)}`, {}, limits(o)));
  }

  /** Lists streams. */
  async streams(o: StreamsOptions = {}): Promise<StreamsPage> {
    const { signal: _, timeoutMs: __, ...which } = o;
    const query = new URLSearchParams(Object.entries(which).filter(([, value]) => value) as [string, string][]);
    return JSON.parse(await this.#link.fetch(`/v1/streams?${query}`, {}, limits(o))) as StreamsPage;
  }

  /** Returns the stored place with a name; undefined if there is none. */
  async progress(name: string, o: Limits = {}): Promise<ProgressInfo | undefined> {
    try {
      return JSON.parse(await this.#link.fetch(`/v1/progress/${encodeURIComponent(name)}`, {}, limits(o))) as ProgressInfo;
    } catch (e) {
      if (GyreError.is(e, "not_found")) return undefined;
      throw e;
    }
  }

  /** Ends the connection, and every call, follow and subscriber with it: they reject with canceled, appends with unknown_outcome. */
  close(): Promise<void> {
    return this.#link.close();
  }
}

/** An append, checked and encoded. @internal */
export function prepareAppend(a: Append): PreparedAppend {
  const { stream, expect = "any" } = a;
  wellFormed(stream, "invalid_stream_name", "a stream's name");
  checkExpect(expect);
  const { events = [], links = [] } = a;
  if (events.length === 0 && links.length === 0)
    throw new GyreError("empty_append", `the append to stream ${JSON.stringify(stream)} has no events`, { stream });
  if (events.length > 0 && links.length > 0)
    throw new GyreError("invalid_request", `the append to stream ${JSON.stringify(stream)} has events and links`, { stream });
  if (links.length === 0) return { stream, expect, events: events.map(prepare) };
  for (const id of links) parseId(id);
  return { stream, expect, events: [], links: links.map((id) => id.toLowerCase()) };
}

function prepareProgress(p: Progress, alone: boolean): Progress {
  wellFormed(p.name, "invalid_progress", "a progress's name");
  for (const n of [p.from, p.to]) {
    if (!(Number.isSafeInteger(n) && n >= 0)) throw new GyreError("invalid_progress", `${n} is not a position`);
  }
  if (p.id !== undefined) parseId(p.id);
  return { ...p, id: p.id?.toLowerCase() ?? (alone ? newId() : undefined) };
}

function checkExpect(x: Expect): void {
  if (typeof x === "number" ? Number.isSafeInteger(x) && x >= 0 : x === "any" || x === "no_stream" || x === "stream_exists") return;
  throw new GyreError("invalid_expected_version", `${JSON.stringify(x)} is not an expected version`);
}

/** The answer to a Commit of so many elements. @internal */
export function resultOf({ ok, result }: Answer, elements: number): TransactResult {
  if (ok !== undefined) {
    const { version = 0, position = 0, count = 0, duplicate = false, node } = ok;
    result = { appends: ok.appends ?? (count > 0 ? [{ version, position, count }] : []), duplicate, node };
  }
  if (result === undefined) throw broken("a wrong answer to an append");
  const { appends, duplicate, node = "" } = result;
  if (appends.length !== elements) throw broken(`${appends.length} of ${elements} are answered`);
  return { appends, position: appends.at(-1)?.position ?? 0, duplicate, node };
}
