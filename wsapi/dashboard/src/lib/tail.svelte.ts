import { type Client, type Filter, GyreError, type RecordedEvent } from "@gyre-events/client";
import { errorOf } from "./query.svelte.js";

/** An event of the tail, or how many were passed over. */
export type Line = { event: RecordedEvent } | { passed: number; from: number };

/** What to show. */
export interface Wanted {
  filter: Filter;
  /** Only events whose data has this text. */
  text: string;
}

/** Bounds what is drawn: lines in a second, and lines that are kept. */
const linesPerSecond = 200;
const keptLines = 500;
/** How often lines are drawn, in ms. */
const drawEvery = 100;
const historySeconds = 90;

/** Shows what is appended as it comes, and never more of it than a person can look at. */
export class Tail {
  lines = $state.raw<Line[]>([]); // newest first
  /** Events a second: that came, that were shown, and that were passed over. */
  arriving = $state(0);
  shown = $state(0);
  passed = $state(0);
  /** The arrival rate of the last seconds. */
  history = $state.raw<number[]>([]);
  position = $state(0);
  head = $state(0);
  paused = $state(false);
  error = $state.raw<GyreError>();

  readonly #client: Client;
  readonly #wanted: Wanted;
  readonly #stop = new AbortController();
  #cursor: string | undefined;
  #following: AbortController | undefined;
  #pending: Line[] = []; // oldest first
  #came = 0;
  #drew = 0;
  #left = 0;
  #allowed = linesPerSecond;
  readonly #timers: ReturnType<typeof setInterval>[];

  constructor(client: Client, wanted: Wanted) {
    this.#client = client;
    this.#wanted = wanted;
    this.#timers = [setInterval(() => this.#draw(), drawEvery), setInterval(() => this.#count(), 1000)];
    this.#follow();
  }

  close(): void {
    this.#stop.abort();
    this.#following?.abort();
    for (const t of this.#timers) clearInterval(t);
  }

  /** Takes no more events: the node keeps what comes. */
  pause(): void {
    this.paused = true;
    this.#following?.abort();
  }

  /** Goes on where it was paused, or at the head of the log. */
  resume(atHead: boolean): void {
    this.paused = false;
    if (atHead) {
      if (this.head > this.position) this.#pass(this.head - this.position, this.position + 1);
      this.#cursor = undefined;
    }
    this.#follow();
  }

  clear(): void {
    this.lines = [];
    this.#pending = [];
  }

  #follow(): void {
    const following = new AbortController();
    this.#following = following;
    void this.#run(following.signal).catch((e: unknown) => {
      if (!following.signal.aborted) this.error = errorOf(e);
    });
  }

  async #run(signal: AbortSignal): Promise<void> {
    const from = this.#cursor === undefined ? "end" : { cursor: this.#cursor };
    const follow = this.#client.follow("$all", { from, filter: this.#wanted.filter, signal });
    for await (const b of follow.batches()) {
      if (signal.aborted) return;
      for (const event of b.events) this.#take(event);
      this.#cursor = b.cursor;
      this.head = Math.max(this.head, b.head);
      this.position = b.events.at(-1)?.position ?? this.position;
      if (b.live && b.events.length === 0) this.position = b.head;
      // The page stays responsive: it takes the next batch when it has drawn.
      await new Promise((done) => setTimeout(done, document.hidden ? 1000 : 0));
    }
  }

  #take(event: RecordedEvent): void {
    this.#came++;
    if (this.#wanted.text !== "" && !(event.isJSON && event.dataText.includes(this.#wanted.text))) return;
    if (this.#allowed > 0) {
      this.#allowed--;
      this.#pending.push({ event });
    } else this.#pass(1, event.position);
  }

  #pass(passed: number, from: number): void {
    this.#left += passed;
    const last = this.#pending.at(-1);
    if (last !== undefined && "passed" in last) last.passed += passed;
    else this.#pending.push({ passed, from });
  }

  #draw(): void {
    if (this.#pending.length === 0 || document.hidden) return;
    const newer = this.#pending.reverse();
    this.#pending = [];
    this.#drew += newer.filter((l) => "event" in l).length;
    this.lines = [...newer, ...this.lines].slice(0, keptLines);
  }

  #count(): void {
    this.arriving = this.#came;
    this.shown = this.#drew;
    this.passed = this.#left;
    this.#came = this.#drew = this.#left = 0;
    this.#allowed = linesPerSecond;
    this.history = [...this.history, this.arriving].slice(-historySeconds);
    if (this.paused) {
      this.#client.server({ signal: this.#stop.signal }).then(
        (s) => (this.head = s.head),
        () => {}, // the connection is away, which the page says
      );
    }
  }
}

/** Reads what is wanted from a line such as "type:Order* stream:order-* EUR". */
export function wanted(line: string): Wanted {
  const types: string[] = [];
  const streams: string[] = [];
  const text: string[] = [];
  for (const word of line.split(/\s+/).filter(Boolean)) {
    if (word.startsWith("type:")) types.push(word.slice(5));
    else if (word.startsWith("stream:")) streams.push(word.slice(7));
    else text.push(word);
  }
  const filter: Filter = { ...(types.length > 0 && { types }), ...(streams.length > 0 && { streams }) };
  return { filter, text: text.join(" ") };
}
