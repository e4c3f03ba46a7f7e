import type { Client, GyreError, RecordedEvent } from "@gyre-events/client";
import { errorOf } from "./query.svelte.js";

/** So many events are kept of those that come; older ones are read again when they are asked for. */
const kept = 5000;

/** The events of a stream, newest first, and what is appended for as long as they are looked at. */
export class StreamEvents {
  events = $state.raw<readonly RecordedEvent[]>([]);
  /** Newer ones, newest first, until they are asked for. */
  waiting = $state.raw<readonly RecordedEvent[]>([]);
  /** All are there that were before. */
  end = $state(false);
  /** Why no more come. */
  error = $state.raw<GyreError>();
  readonly version: number = $derived((this.waiting[0] ?? this.events[0])?.version ?? 0);
  /** How many wait, and those that were too many to be kept. */
  readonly newer: number = $derived(this.version - (this.events[0]?.version ?? 0));

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
    if (this.#busy || this.end || from === undefined) return;
    this.#busy = true;
    try {
      const page = await this.#client.read(this.#stream, {
        backward: true,
        from,
        limit: 500,
        signal: this.#stop.signal,
      });
      if (this.#next === from) this.#older(page);
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
        if (b.events.length > 0) this.#take([...b.events].reverse());
        // The page stays responsive: it takes the next batch when it has drawn.
        await new Promise((done) => setTimeout(done, document.hidden ? 1000 : 0));
      }
    } catch (e) {
      this.#failed(e);
    }
    this.#following = false;
  }

  /** Shows what came to a reader of the newest; to others it does not move what they read. */
  #take(newer: readonly RecordedEvent[]): void {
    this.waiting = [...newer, ...this.waiting].slice(0, kept);
    if (scrollY === 0 || this.events.length === 0) this.show();
  }

  /** Puts newer ones before the others, of which the oldest go: as many as are kept leave no gap. */
  #newer(newer: readonly RecordedEvent[]): void {
    const events = [...newer, ...this.events];
    this.events = events.slice(0, kept);
    if (events.length <= kept) return;
    this.#next = (this.events.at(-1) as RecordedEvent).version - 1;
    this.end = false;
  }

  #older(page: { events: readonly RecordedEvent[]; next?: number | undefined; end: boolean }): void {
    this.events = [...this.events, ...page.events];
    this.#next = page.next;
    this.end = page.end;
  }

  #failed(e: unknown): void {
    if (!this.#stop.signal.aborted) this.error = errorOf(e);
  }
}
