import type { Client, GyreError, RecordedEvent } from "@gyre-events/client";
import { errorOf } from "./query.svelte.js";
import { type Brief, briefOf } from "./streams.svelte.js";

/** So many events are kept, around those that are looked at; the others are read again when they are. */
const kept = 5000;
const pageEvents = 500;

/** So many bytes of an event's data are shown in a line. */
const lineBytes = 300;

/** What a line says of an event. */
export interface Line extends Brief {
  position: number;
  /** The beginning of its data. */
  text: string;
}

type ReadOptions = Parameters<Client["read"]>[1];
type Page = Awaited<ReturnType<Client["read"]>>;

export function lineOf(e: RecordedEvent): Line {
  const text = e.isJSON
    ? new TextDecoder().decode(e.dataBytes.subarray(0, lineBytes), { stream: true })
    : `${e.dataBytes.length} bytes`;
  return { ...briefOf(e), position: e.position, text };
}

/** The events of a stream, newest first, and what is appended for as long as they are looked at. */
export class StreamEvents {
  /** A part of the list without a gap. */
  events = $state.raw<readonly Line[]>([]);
  /** What the list begins with. */
  top = $state.raw<Line>();
  /** Newer ones, newest first, until they are asked for. */
  waiting = $state.raw<readonly Line[]>([]);
  /** All are there that were before. */
  end = $state(false);
  /** Why no more come. */
  error = $state.raw<GyreError>();
  readonly newest: Line | undefined = $derived(this.waiting[0] ?? this.top);
  readonly version: number = $derived(this.newest?.version ?? 0);
  /** How many wait, and those that were too many to be kept. */
  readonly newer: number = $derived(this.version - (this.top?.version ?? 0));
  /** How many of the list are before the part that is kept. */
  readonly above: number = $derived((this.top?.version ?? 0) - (this.events[0]?.version ?? 0));

  readonly #client: Client;
  readonly #stream: string;
  readonly #stop = new AbortController();
  #next: number | undefined;
  #begun = false;
  #following = false;
  #busy = false;

  constructor(client: Client, stream: string) {
    this.#client = client;
    this.#stream = stream;
    void this.#run();
  }

  close(): void {
    this.#stop.abort();
  }

  /** Reads older ones. */
  async more(): Promise<void> {
    const from = this.#next;
    if (this.end || from === undefined) return;
    await this.#read({ backward: true, from, limit: pageEvents }, (page) => {
      if (this.#next === from) this.#older(page);
    });
  }

  /** Reads those before the part that is kept, as somebody looks at a place of the list that is near it or above. */
  async before(place: number): Promise<void> {
    const { above } = this;
    const first = this.events[0]?.version ?? 0;
    if (above === 0) return;
    if (place < above - pageEvents) return this.#jump(first + above - Math.max(0, place - pageEvents / 2));
    await this.#read({ from: first + 1, limit: Math.min(pageEvents, above) }, ({ events }) => {
      if (this.events[0]?.version !== first) return;
      this.#part([...events.map(lineOf).reverse(), ...this.events].slice(0, kept));
    });
  }

  /** Keeps another part: that from a version on. */
  #jump(from: number): Promise<void> {
    return this.#read({ backward: true, from, limit: pageEvents }, (page) => {
      this.events = [];
      this.#older(page);
    });
  }

  /** Reads a page, unless one is being read. */
  async #read(o: ReadOptions, take: (page: Page) => void): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      take(await this.#client.read(this.#stream, { ...o, signal: this.#stop.signal }));
    } catch (e) {
      this.#failed(e);
    }
    this.#busy = false;
  }

  /** Shows those that wait. */
  show(): void {
    const { waiting } = this;
    this.waiting = [];
    this.#newer(waiting);
  }

  /** Goes on after an error. */
  again(): void {
    this.error = undefined;
    if (this.#following) void this.more();
    else void this.#run();
  }

  /** Takes the newest page, and follows from there; or from where it was. */
  async #run(): Promise<void> {
    const { signal } = this.#stop;
    this.#following = true;
    try {
      if (!this.#begun) this.#older(await this.#client.read(this.#stream, { backward: true, limit: 200, signal }));
      this.#begun = true;
      const from = { version: this.version + 1 };
      for await (const b of this.#client.follow(this.#stream, { from, signal }).batches()) {
        if (signal.aborted) return;
        if (b.events.length > 0) this.#take(b.events.map(lineOf).reverse());
        // The page stays responsive: it takes the next batch when it has drawn.
        await new Promise((done) => setTimeout(done, document.hidden ? 1000 : 0));
      }
    } catch (e) {
      this.#failed(e);
    }
    this.#following = false;
  }

  /** Shows what came to a reader of the newest; to others it does not move what they read. */
  #take(newer: readonly Line[]): void {
    this.waiting = [...newer, ...this.waiting].slice(0, kept);
    if (scrollY === 0 || this.events.length === 0) this.show();
  }

  /** Puts newer ones before the others, of which the oldest go: as many as are kept leave no gap. */
  #newer(newer: readonly Line[]): void {
    const joined = this.above === 0 ? [...newer, ...this.events] : newer;
    this.top = joined[0];
    this.#part(joined.slice(0, kept));
  }

  /** Keeps these, which may lack older ones that were kept. */
  #part(events: readonly Line[]): void {
    const last = events.at(-1)?.version ?? 0;
    if (last !== this.events.at(-1)?.version) {
      this.#next = last - 1;
      this.end = last <= 1;
    }
    this.events = events;
  }

  #older(page: Page): void {
    this.events = [...this.events, ...page.events.map(lineOf)].slice(-kept);
    this.#next = page.next;
    this.end = page.end;
    this.top ??= this.events[0];
  }

  #failed(e: unknown): void {
    if (!this.#stop.signal.aborted) this.error = errorOf(e);
  }
}
