import type { Client, GyreError, RecordedEvent, StreamInfo, StreamsOptions, StreamsPage } from "@gyre-events/client";
import { errorOf } from "./query.svelte.js";

/** What a list says of an event. The event itself may have a megabyte, and there are many. */
export interface Brief {
  version: number;
  type: string;
  recorded: string;
}

export const briefOf = ({ version, type, recorded }: RecordedEvent): Brief => ({ version, type, recorded });

export const sorts = ["changed", "created", "name"] as const;
export type Sort = (typeof sorts)[number];

export const states = ["live", "deleted", "tombstoned"] as const;

/** Which streams are listed, and in which order. */
export interface Listing {
  /** How the names begin; a pattern that they match if it has "*". */
  name: string;
  /** Without it, streams that are live or deleted. */
  state: StreamInfo["state"] | undefined;
  sort: Sort;
  desc: boolean;
}

/**
 * The listing that the query of a URL asks for. Streams that are searched for are sorted by name;
 * tombstoned ones have the order of their tombstones only.
 */
export function listingOf(query: URLSearchParams): Listing {
  const name = query.get("name") ?? "";
  const state = states.find((s) => s === query.get("state"));
  const wanted = state === "tombstoned" ? "changed" : sorts.find((s) => s === query.get("sort"));
  const sort = wanted ?? (name === "" ? "changed" : "name");
  const desc = query.get("desc");
  return { name, state, sort, desc: desc === null ? sort !== "name" : desc === "true" };
}

/** The query of the URL for another order; the same order again is turned around. */
export function ordered(now: Listing, sort: Sort): { sort: Sort; desc: string | undefined } {
  return { sort, desc: sort === now.sort ? String(!now.desc) : undefined };
}

const pageStreams = 500;
/** So many streams are kept; for others the reader searches. */
export const mostStreams = 100_000;

/** The streams of a listing; more of them when they are asked for. */
export class StreamList {
  rows = $state.raw<readonly StreamInfo[]>([]);
  end = $state(false);
  error = $state.raw<GyreError>();
  busy = $state(false);
  /** How many streams the listing has. */
  total = $state.raw<StreamsPage["total"]>();
  /** How many names or entries of the log were looked at; 0 if the node does not say. */
  looked = $state(0);
  /** The newest page has fewer streams than it could: they are looked for, not looked up. */
  sparse = $state(false);
  /** The head of the log when the list began. */
  head = $state(Infinity);
  readonly full: boolean = $derived(this.rows.length >= mostStreams);

  readonly #client: Client;
  readonly #listing: Listing;
  readonly #stop = new AbortController();
  readonly #seen = new Set<string>();
  #cursor: string | undefined;

  constructor(client: Client, listing: Listing) {
    this.#client = client;
    this.#listing = listing;
  }

  close(): void {
    this.#stop.abort();
  }

  async more(): Promise<void> {
    if (this.busy || this.end || this.full || this.#stop.signal.aborted) return;
    this.busy = true;
    this.error = undefined;
    try {
      const first = this.#cursor === undefined;
      if (first) this.head = (await this.#client.server()).head;
      this.#take(await this.#page({ limit: pageStreams, details: true, cursor: this.#cursor }));
      if (first) void this.#count();
    } catch (e) {
      if (!this.#stop.signal.aborted) this.error = errorOf(e);
    }
    this.busy = false;
  }

  #page(o: StreamsOptions): Promise<StreamsPage> {
    const { name, state, sort, desc } = this.#listing;
    const which = name.includes("*") ? { match: name } : { prefix: name };
    return this.#client.streams({ ...which, state, sort, desc, signal: this.#stop.signal, ...o });
  }

  /** Counts the streams, unless all are there. The list does not wait for it. */
  async #count(): Promise<void> {
    if (this.end) this.total = { streams: this.rows.length };
    else this.total = (await this.#page({ limit: 1, totals: true }).catch(() => undefined))?.total;
  }

  #take(page: StreamsPage): void {
    this.#cursor = page.cursor;
    this.end = page.end;
    this.looked += page.looked ?? 0;
    this.sparse = !page.end && page.streams.length < pageStreams;
    // A stream that changes while the list is read may come twice.
    const fresh = page.streams.filter((s) => !this.#seen.has(s.name));
    for (const s of fresh) this.#seen.add(s.name);
    if (fresh.length > 0) this.rows = [...this.rows, ...fresh]; // a table that shows no more asks no more
  }
}

/** Describes a stream, deleted or not; undefined if no list has it. */
export async function describe(client: Client, name: string, signal: AbortSignal): Promise<StreamInfo | undefined> {
  const page = await client.streams({ prefix: name, details: true, system: name.startsWith("$"), limit: 1, signal });
  return page.streams.find((s) => s.name === name);
}
