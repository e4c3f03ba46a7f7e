import { requestMs } from "./connection.js";
import { abortError, GyreError } from "./errors.js";
import type { RecordedEvent } from "./event.js";
import { bound, Deferred, Inbox } from "./inbox.js";
import type { Link, Sub } from "./link.js";
import { type Amount, type Filter, type From, followText, type OK, type Status } from "./messages.js";

/** How many events the server may send before they are taken. */
export const defaultCredit: Amount = { events: 4096, bytes: 2 << 20 };

/** How to follow. */
export interface FollowOptions {
  /** Where to begin; "start" if absent. */
  from?: From | undefined;
  /** Which events are wanted; all if absent. */
  filter?: Filter | undefined;
  /** Of "$all": the events of the system's streams are wanted, too. */
  system?: boolean | undefined;
  /** Ends the follow: its loop throws canceled. */
  signal?: AbortSignal | undefined;
  /** How long it may take to begin, in ms; 30,000 if absent. Once begun it waits for ever. */
  timeoutMs?: number | undefined;
  /** How many events the server may send before they are taken: 4096 events and 2 MiB if absent. */
  credit?: { readonly events?: number; readonly bytes?: number } | undefined;
}

/** Events of a follow, or only a new state. */
export interface Batch<E extends RecordedEvent = RecordedEvent> {
  /** Events, in order; perhaps none. */
  readonly events: readonly E[];
  /** The place after them. A follow from here misses nothing and repeats nothing. */
  readonly cursor: string;
  /** The last position of the log that is known. */
  readonly head: number;
  /** Whether every stored event was delivered: the follow waits for new ones. */
  readonly live: boolean;
  /** Why the node delivers nothing for now, if it does not. The follow goes on by itself. */
  readonly noQuorum?: string;
}

/**
 * A reader that keeps its own place: first the stored events, then new ones, in order and
 * without a gap. It outlives connections: after a break it goes on where it was. Take
 * its events with `for await`, or its batches, in one loop at a time; leaving the loop
 * ends the follow. Nothing is sent beyond the credit until events are taken.
 */
export class Follow implements AsyncIterable<RecordedEvent> {
  readonly #sub: FollowSub;
  #cursor: string | undefined;
  #head = 0;
  #live = false;

  /** @internal */
  constructor(link: Link, stream: string, o: FollowOptions) {
    let sub: FollowSub | undefined;
    link.join((num) => {
      sub = new FollowSub(link, num, stream, o);
      return sub;
    });
    this.#sub = sub as FollowSub;
  }

  /** The place after the last event that was taken, to follow from later; undefined before that. */
  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** The log's last position, as of the last batch. */
  get head(): number {
    return this.#head;
  }

  /** Whether everything stored was taken. */
  get live(): boolean {
    return this.#live;
  }

  /** Settles when the server has begun the follow: with from "end", events that are appended later arrive. */
  started(): Promise<void> {
    return this.#sub.begun.promise;
  }

  /** The events, one by one. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RecordedEvent, void, undefined> {
    for await (const b of this.batches()) {
      for (const e of b.events) {
        this.#cursor = `${b.cursor.slice(0, b.cursor.indexOf("."))}.${e.position}`;
        yield e;
      }
      this.#cursor = b.cursor;
    }
  }

  /** The events as they come together, and changes of how the follow stands. */
  async *batches(): AsyncGenerator<Batch, void, undefined> {
    try {
      for (;;) {
        const a = await this.#sub.inbox.next();
        if (a === undefined) return;
        this.#cursor = a.cursor;
        this.#head = a.head;
        this.#live = a.live;
        yield { events: a.events, cursor: a.cursor, head: a.head, live: a.live, ...(a.noQuorum !== undefined && { noQuorum: a.noQuorum }) };
      }
    } finally {
      this.close();
    }
  }

  /** Ends the follow, and a loop that waits for its events, without an error. */
  close(): void {
    this.#sub.leave(undefined);
  }
}

class FollowSub implements Sub {
  readonly num: number;
  readonly inbox: Inbox<RecordedEvent>;
  readonly begun = new Deferred();
  accepted = false;
  readonly #link: Link;
  readonly #stream: string;
  readonly #filter: Filter | undefined;
  readonly #system: boolean | undefined;
  readonly #limits: ReturnType<typeof bound>;
  #from: From;
  #log = "";
  #position: number | undefined; // everything up to here is in the inbox, or was
  #head = 0;
  #live = false;
  #noQuorum: string | undefined;

  constructor(link: Link, num: number, stream: string, o: FollowOptions) {
    this.num = num;
    this.#link = link;
    this.#stream = stream;
    this.#filter = o.filter;
    this.#system = o.system;
    this.#from = o.from ?? "start";
    this.inbox = new Inbox({ ...defaultCredit, ...o.credit }, (c) => link.credit(this, c));
    this.#limits = bound(
      o.signal,
      o.timeoutMs ?? requestMs,
      () => this.leave(abortError(o.signal as AbortSignal)),
      () => this.leave(link.explain(new GyreError("timeout", "the follow did not begin in time"))),
    );
  }

  subscribe(id: number): string {
    if (this.#position !== undefined) this.#from = { cursor: this.#cursor(this.#position) };
    return followText(id, this.num, {
      stream: this.#stream,
      from: this.#from,
      filter: this.#filter,
      system: this.#system,
      credit: this.inbox.allowance(),
    });
  }

  accept(ok: OK, log: string): void {
    this.accepted = true;
    this.#log = log;
    this.#head = Math.max(this.#head, ok.head ?? 0);
    if (ok.cursor !== undefined) this.#position ??= placeOf(ok.cursor);
    this.#limits.begun();
    this.begun.resolve();
  }

  take(events: RecordedEvent[], _: number[] | undefined, _replay: boolean, cursor: string | undefined, bytes: number): void {
    this.#position = cursor === undefined ? (events.at(-1)?.position ?? this.#position ?? 0) : placeOf(cursor);
    this.#head = Math.max(this.#head, this.#position);
    this.#noQuorum = undefined;
    this.#push(events, bytes);
  }

  report(s: Status): void {
    this.#position = Math.max(this.#position ?? 0, placeOf(s.cursor));
    this.#head = Math.max(this.#head, s.head);
    if (s.state !== "checkpoint") {
      this.#live = s.state === "live";
      this.#noQuorum = s.state === "no_quorum" ? (s.reason ?? "") : undefined;
    }
    this.#push([], 0);
  }

  #push(events: RecordedEvent[], bytes: number): void {
    this.inbox.push({
      events,
      bytes,
      cursor: this.#cursor(this.#position as number),
      head: this.#head,
      live: this.#live,
      noQuorum: this.#noQuorum,
    });
  }

  #cursor(position: number): string {
    return `${this.#log}.${position}`;
  }

  lost(): void {
    this.#live = false;
    this.#noQuorum = undefined;
  }

  end(why: GyreError | undefined): void {
    this.#limits.over();
    this.inbox.end(why);
    this.begun.reject(why ?? new GyreError("canceled", "the follow was closed"));
  }

  /** Ends it from this side, at once. */
  leave(why: GyreError | undefined): void {
    this.inbox.clear();
    this.#link.leave(this);
    this.end(why);
  }
}

/** The position in a cursor. */
export function placeOf(cursor: string): number {
  return Number(cursor.slice(cursor.indexOf(".") + 1));
}
