import type { Client, GyreError, RecordedEvent } from "@gyre-events/client";
import { errorOf } from "./query.svelte.js";

/** What a list says of an event. The event itself may have a megabyte, and there are many. */
export interface Brief {
  version: number;
  type: string;
  recorded: string;
}

export const briefOf = ({ version, type, recorded }: RecordedEvent): Brief => ({ version, type, recorded });

/** A stream in a list; with its newest event, if that is known. */
export interface Row {
  name: string;
  version: number;
  event?: Brief;
}

/** Bounds what is looked at for more of the streams that were written last. */
const pagesPerLook = 5;
const rowsPerLook = 100;

/** Streams by name, or those that were written last; more of them when they are asked for. */
export class StreamList {
  rows = $state.raw<readonly Row[]>([]);
  end = $state(false);
  error = $state.raw<GyreError>();
  /** Of those that were written last: how many events were looked at, from which position on. */
  looked = $state(0);
  top = $state(0);

  readonly #client: Client;
  readonly #prefix: string;
  readonly #written: boolean;
  readonly #stop = new AbortController();
  readonly #seen = new Set<string>();
  #cursor: string | undefined;
  #next: number | undefined;
  #busy = false;

  constructor(client: Client, prefix: string, written: boolean) {
    this.#client = client;
    this.#prefix = prefix;
    this.#written = written;
  }

  close(): void {
    this.#stop.abort();
  }

  async more(): Promise<void> {
    if (this.#busy || this.end || this.#stop.signal.aborted) return;
    this.#busy = true;
    this.error = undefined;
    try {
      await (this.#written ? this.#byTime() : this.#byName());
    } catch (e) {
      if (!this.#stop.signal.aborted) this.error = errorOf(e);
    }
    this.#busy = false;
  }

  async #byName(): Promise<void> {
    const { signal } = this.#stop;
    const page = await this.#client.streams({ prefix: this.#prefix, cursor: this.#cursor, limit: 1000, signal });
    this.rows = [...this.rows, ...page.streams];
    this.#cursor = page.cursor;
    this.end = page.end;
  }

  /** Reads the log backward until it has met enough streams, or has looked at enough events. */
  async #byTime(): Promise<void> {
    const found: Row[] = [];
    for (let page = 0; page < pagesPerLook && found.length < rowsPerLook && !this.end; page++)
      found.push(...(await this.#page()));
    if (found.length > 0) this.rows = [...this.rows, ...found]; // a table that shows no more asks no more
  }

  async #page(): Promise<Row[]> {
    const { signal } = this.#stop;
    const { events, next, version, end } = await this.#client.read("$all", {
      backward: true,
      limit: 1000,
      signal,
      ...(this.#next !== undefined && { from: this.#next }),
    });
    if (this.#next === undefined) this.top = version;
    this.#next = next;
    this.end = end || next === undefined;
    this.looked += events.length;
    const found: Row[] = [];
    for (const event of events) {
      if (this.#seen.has(event.stream) || !event.stream.startsWith(this.#prefix)) continue;
      this.#seen.add(event.stream);
      found.push({ name: event.stream, version: event.version, event: briefOf(event) });
    }
    return found;
  }
}
