import type { GyreError } from "./errors.js";
import type { RecordedEvent } from "./event.js";
import type { Amount } from "./messages.js";

/** Events that came together, or none, and the credit they came for. */
export interface Arrival<E extends RecordedEvent> {
  events: E[];
  bytes: number;
  cursor: string;
  head: number;
  live: boolean;
  /** Why nothing is delivered for now. */
  noQuorum?: string | undefined;
}

/**
 * What a server sent and nobody has taken yet. It is bounded by the credit, of which
 * half is given back at a time.
 */
export class Inbox<E extends RecordedEvent> {
  readonly #credit: Amount;
  readonly #give: (c: Amount) => void;
  #queue: Arrival<E>[] = [];
  /** Taken, and not yet given back as credit. */
  #taken: Amount = { events: 0, bytes: 0 };
  #over: { why: GyreError | undefined } | undefined;
  #wake: (() => void) | undefined;

  constructor(credit: Amount, give: (c: Amount) => void) {
    this.#credit = credit;
    this.#give = give;
  }

  /** The credit that the queue leaves, for a new subscribe. */
  allowance(): Amount {
    this.#taken = { events: 0, bytes: 0 };
    let { events, bytes } = this.#credit;
    for (const a of this.#queue) {
      events -= a.events.length;
      bytes -= a.bytes;
    }
    return { events: Math.max(0, events), bytes: Math.max(1, bytes) };
  }

  push(a: Arrival<E>): void {
    if (this.#over !== undefined) return;
    // Of several that only say how things stand, the last says it all.
    if (a.events.length === 0 && this.#queue.at(-1)?.events.length === 0) this.#queue.pop();
    this.#queue.push(a);
    this.#wake?.();
  }

  /** Forgets what was not taken. */
  clear(): void {
    this.#queue = [];
  }

  /** Ends it: once the queue is empty, for a reason or as it should. */
  end(why: GyreError | undefined): void {
    this.#over ??= { why };
    this.#wake?.();
  }

  /** The next arrival; undefined at the end. By one caller at a time. */
  async next(): Promise<Arrival<E> | undefined> {
    for (;;) {
      const first = this.#queue.shift();
      if (first !== undefined) {
        this.#spend(first);
        return first;
      }
      if (this.#over !== undefined) {
        if (this.#over.why !== undefined) throw this.#over.why;
        return undefined;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  #spend(a: Arrival<E>): void {
    this.#taken.events += a.events.length;
    this.#taken.bytes += a.bytes;
    if (2 * this.#taken.events >= this.#credit.events || 2 * this.#taken.bytes >= this.#credit.bytes) {
      this.#give(this.#taken);
      this.#taken = { events: 0, bytes: 0 };
    }
  }
}

/** Ties a sub to a signal, and to a time by which it has to have begun. The result unties it. */
export function bound(signal: AbortSignal | undefined, ms: number, aborted: () => void, late: () => void): { begun(): void; over(): void } {
  const timer = setTimeout(late, ms);
  signal?.addEventListener("abort", aborted);
  return {
    begun: () => clearTimeout(timer),
    over: () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
    },
  };
}

/** A promise to be settled from elsewhere; not awaiting it is no error. */
export class Deferred {
  readonly promise: Promise<void>;
  resolve!: () => void;
  reject!: (why: GyreError) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => {});
  }
}
