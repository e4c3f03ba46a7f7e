import type { Client, GyreError, RecordedEvent, Selection } from "@gyre-events/client";
import { type Line, lineOf } from "./events.svelte.js";
import { errorOf } from "./query.svelte.js";

/** The fields of a selection, as they are in the query of a URL. */
export const fields = ["category", "types", "streams", "correlation", "since", "until"] as const;
export type Field = (typeof fields)[number];

/** Which events are read, where from, and in which direction. */
export interface Wanted {
  selection: Selection;
  /** The position to begin at. */
  from: number | undefined;
  backward: boolean;
}

const list = (text: string) => text.split(",").flatMap((s) => s.trim() || []);

/** What the query of a URL asks for: the newest first, unless it says otherwise. */
export function wanted(query: URLSearchParams): Wanted {
  const { category, types, streams, correlation, since, until } = Object.fromEntries(
    fields.map((f) => [f, query.get(f) || undefined]),
  ) as Record<Field, string | undefined>;
  const filter = { ...(types && { types: list(types) }), ...(streams && { streams: list(streams) }) };
  const selection = { category, correlation, since, until, ...(types || streams ? { filter } : {}) };
  return { selection, from: Number(query.get("from")) || undefined, backward: query.get("order") !== "oldest" };
}

/** The address of the events of $all that are selected. */
export function selected(selection: Partial<Record<Field, string>>): string {
  return `/streams/%24all?${new URLSearchParams(selection)}`;
}

/** The category of a stream: what its name has before its first "-"; undefined if it has none. */
export function categoryOf(stream: string): string | undefined {
  const at = stream.indexOf("-");
  return at > 0 ? stream.slice(0, at) : undefined;
}

/** A line of the list. */
export interface SelectedLine extends Line {
  stream: string;
  /** When it happened, as its writer says. */
  time: string;
}

const selectedLine = (e: RecordedEvent): SelectedLine => ({ ...lineOf(e), stream: e.stream, time: e.time });

const pageEvents = 500;
const pageBytes = 2 << 20;
/** So many events are kept; for those after them the reader begins elsewhere. */
const mostEvents = 10_000;

/** Events of $all that are selected, page by page, as they are asked for. */
export class Selected {
  events = $state.raw<readonly SelectedLine[]>([]);
  end = $state(false);
  busy = $state(false);
  error = $state.raw<GyreError>();
  /** How many positions were looked at. */
  scanned = $state(0);
  /** Where the next page begins. */
  next = $state<number>();
  /** The newest page has fewer events than it could: they are looked for, not looked up. */
  sparse = $state(false);
  readonly full: boolean = $derived(this.events.length >= mostEvents);

  readonly #client: Client;
  readonly #wanted: Wanted;
  readonly #stop = new AbortController();

  constructor(client: Client, wanted: Wanted) {
    this.#client = client;
    this.#wanted = wanted;
    this.next = wanted.from;
  }

  close(): void {
    this.#stop.abort();
  }

  async more(): Promise<void> {
    if (this.busy || this.end || this.full || this.#stop.signal.aborted) return;
    this.busy = true;
    this.error = undefined;
    try {
      const { selection, backward } = this.#wanted;
      const { signal } = this.#stop;
      const range = { ...selection, from: this.next, backward, limit: pageEvents, bytes: pageBytes, signal };
      const { events, next, end, scanned } = await this.#client.read("$all", range);
      this.scanned += scanned;
      this.next = next;
      this.end = end || next === undefined;
      this.sparse = !this.end && events.length < pageEvents;
      if (events.length > 0) this.events = [...this.events, ...events.map(selectedLine)];
    } catch (e) {
      if (!this.#stop.signal.aborted) this.error = errorOf(e);
    }
    this.busy = false;
  }
}
