import { requestMs } from "./connection.js";
import { abortError, GyreError } from "./errors.js";
import { type EventObject, RecordedEvent } from "./event.js";
import { defaultCredit, placeOf } from "./follow.js";
import { ackFrame } from "./frames.js";
import { bound, Deferred, Inbox } from "./inbox.js";
import type { Link, Sub } from "./link.js";
import {
  type AckOptions,
  type AckTarget,
  ackText,
  extendText,
  type Filter,
  type From,
  type NackAction,
  type NackFields,
  nackText,
  namedText,
  type OK,
  type Status,
} from "./messages.js";

/** The definition of a subscription. Absent fields have the server's defaults. */
export interface SubscriptionOptions {
  /** A stream's name, or "$all", which is the default. */
  stream?: string;
  /** Where a new subscription begins; "start" if absent. */
  from?: From;
  /** Which events are delivered. The checkpoint passes the others. */
  filter?: Filter & {
    /** An expression over an event. */
    expr?: string;
    /** A plugin that keeps events, of those that match the rest: "NAME@VERSION". */
    plugin?: string;
  };
  /** What of an event is delivered: names of fields, an expression, or what a plugin makes of it. */
  map?: string[] | string | { plugin: string } | null;
  /**
   * The key whose events are delivered in order, to one subscriber at a time: "none", "stream",
   * "correlation_id", "metadata:NAME", "expr:EXPRESSION" or "plugin:NAME@VERSION".
   */
  partitionBy?: string;
  /** How many subscribers there may be; 1 by default. */
  concurrencyLimit?: number;
  /** How many events may be in flight to one subscriber. */
  bufferSize?: number;
  /** After how many ms the checkpoint is stored at the latest; 0 = only by the threshold. */
  checkpointAfterMs?: number;
  /** After how many finished events the checkpoint is stored. */
  checkpointThreshold?: number;
  /** How long a subscriber has for an event, in ms; -1 for no limit. */
  ackTimeoutMs?: number;
  /** What happens after failed attempts. */
  retry?: {
    /** How many attempts may fail; -1 for no limit. */
    max?: number;
    /** The backoff after the first, in ms; it doubles with each. */
    minMs?: number;
    /** The longest backoff, in ms. */
    maxMs?: number;
    /** What becomes of the event then. */
    then?: "park" | "skip" | "stop";
  };
  /** What happens to later events of a parked event's key. */
  onPark?: "continue" | "hold_key";
  /** Create it paused. */
  paused?: boolean;
}

/** How to join a named subscription. */
export interface SubscribeOptions {
  /**
   * The definition to create the subscription with. If it exists with another, the error is
   * subscription_options_differ. If absent, the defaults create it, and an existing one is joined as it is. After a
   * break only the same subscription is joined again: if it was deleted, the error is subscription_not_found.
   */
  options?: SubscriptionOptions | undefined;
  /** The options are only for creating it: an existing subscription is joined as it is. */
  anyOptions?: boolean | undefined;
  /**
   * The server stores nothing of the subscription: it begins at its options' from with its
   * first subscriber, and ends with its last. If all connections are lost, it begins again
   * at the last checkpoint that the server reported. If it stops itself, it ends for all
   * subscribers with subscription_stopped and the reason. A stored subscription of the same
   * name is another subscription.
   */
  transient?: boolean | undefined;
  /** Is called when the status changes. It must not throw. */
  onStatus?: ((s: SubscriptionStatus) => void) | undefined;
  /** The name of this subscriber, for people. */
  consumer?: string | undefined;
  /**
   * How many events are handled at a time, by consume or by the caller's loop; 1 by default.
   * Events are in order only with 1 or with partitions. With more, the server sends one event of a key at a time.
   */
  workers?: number | undefined;
  /** How many events may be in flight to this subscriber, if that is fewer than the bufferSize of the subscription. */
  bufferSize?: number | undefined;
  /** Ends it: its loop throws canceled. */
  signal?: AbortSignal | undefined;
  /** How long it may take to join, in ms; 30,000 if absent. */
  timeoutMs?: number | undefined;
  /** How many events the server may send before they are taken, within the bufferSize of the subscription. */
  credit?: { readonly events?: number; readonly bytes?: number } | undefined;
}

/** A subscription's state as its subscriber knows it. */
export interface SubscriptionStatus {
  /** "idle" while there is no lease: the connection is lost, or the subscription moves. "live" means that every event was sent, not that it was handled. With "moving" another node becomes its owner, with "no_quorum" the node delivers nothing; both go on by themselves. */
  readonly state: "idle" | "catchup" | "live" | "moving" | "no_quorum" | "paused" | "stopped";
  /** Why it is stopped, moving or without a quorum. */
  readonly reason?: string;
  /** The stored checkpoint at that time. */
  readonly checkpoint: number;
  /** The log's last position at that time. */
  readonly head: number;
}

/** Handles an event. If it returns, the event is acked; if it throws, the event is sent again, or treated as a Refusal says. */
export type Handler = (d: Delivery) => unknown;

/** Options of Subscriber.consume. */
export interface ConsumeOptions {
  /** Takes no more events: running handlers finish, and their events are answered. */
  signal?: AbortSignal | undefined;
}

/** Thrown by a Handler, it nacks the event, as Delivery.nack does. */
export class Refusal extends Error {
  override readonly name = "Refusal";

  constructor(
    readonly action: NackAction,
    readonly options: NackOptions = {},
  ) {
    super(options.reason ?? action);
  }
}

/** Options of a nack. */
export interface NackOptions {
  /** Of retry: in how many ms it is sent again; the subscription's policy if absent. */
  delayMs?: number | undefined;
  /** Why, for people; kept with the event. */
  reason?: string | undefined;
}

/**
 * An event of a named subscription, to be acked or nacked. Each call settles with the
 * server's answer. It rejects with lease_lost if the event's connection is lost, or with
 * unexpected_ack if its ack timeout ran out; the event is then delivered again. An
 * unhandled rejection is no error, because nothing is lost.
 */
export class Delivery extends RecordedEvent {
  /** How often the event was sent, this time included. */
  readonly attempt: number;
  /** Whether it is a parked event that is delivered again. */
  readonly replay: boolean;
  readonly #lease: Lease;

  /** @internal */
  constructor(e: RecordedEvent, attempt: number, replay: boolean, lease: Lease) {
    super(RecordedEvent.partsOf(e));
    this.attempt = attempt;
    this.replay = replay;
    this.#lease = lease;
  }

  /** Finishes the event. Acks of one turn of the event loop are sent together. */
  ack(o: AckOptions = {}): Promise<void> {
    return this.#lease.ack(this.position, o.durable === true);
  }

  /** Finishes it, and everything that was sent to this subscriber before it. */
  ackUpTo(o: AckOptions = {}): Promise<void> {
    return this.#lease.ackUpTo(this.position, o.durable === true);
  }

  /** Gives it back: to be sent again, parked or skipped, or to stop the subscription. */
  nack(action: NackAction, o: NackOptions = {}): Promise<void> {
    return this.#lease.nack([this.position], { action, ...o });
  }

  /** Moves its ack timeout to at least so many ms from now. */
  extend(ms: number): Promise<void> {
    return this.#lease.extend([this.position], ms);
  }

  /** The event object, with the attempt, and with replay if it is one. */
  override toJSON(): EventObject & { attempt: number; replay?: true } {
    return { ...super.toJSON(), attempt: this.attempt, ...(this.replay ? { replay: true } : {}) };
  }
}

/**
 * A consumer of a named subscription. It outlives connections: after a break it joins
 * again, and events that were not acked are delivered again. Take its deliveries with
 * `for await`, in one loop at a time; leaving the loop leaves the subscription.
 */
export class Subscriber implements AsyncIterable<Delivery> {
  readonly #sub: NamedSub;

  /** @internal */
  constructor(link: Link, subscription: string, o: SubscribeOptions) {
    let sub: NamedSub | undefined;
    link.join((num) => {
      sub = new NamedSub(link, num, subscription, o);
      return sub;
    });
    this.#sub = sub as NamedSub;
  }

  /** Whether every stored event was sent. */
  get live(): boolean {
    return this.status.state === "live";
  }

  /** The last status that the server reported. */
  get status(): SubscriptionStatus {
    return this.#sub.status;
  }

  /**
   * Handles events until the signal aborts or the subscription ends, and leaves the
   * subscription. It rejects with the reason if the subscription ended by itself. After a
   * lost connection, an event may be handled again while its earlier handler still runs. A
   * node that shuts down waits 1.5 s for handlers first.
   */
  async consume(handle: Handler, o: ConsumeOptions = {}): Promise<void> {
    const deliveries = this.#deliveries();
    const stop = () => this.#sub.takeNoMore();
    o.signal?.addEventListener("abort", stop, { once: true });
    if (o.signal?.aborted) stop();
    const work = async () => {
      for (let d = await deliveries.next(); !d.done && !o.signal?.aborted; d = await deliveries.next()) {
        await reply(d.value, handle);
      }
    };
    try {
      const workers = await Promise.allSettled(Array.from({ length: this.#sub.workers }, work));
      for (const w of workers) if (w.status === "rejected") throw w.reason;
    } finally {
      o.signal?.removeEventListener("abort", stop);
      this.close();
    }
  }

  /** Settles when the server has let this subscriber in. */
  started(): Promise<void> {
    return this.#sub.begun.promise;
  }

  /** The deliveries, one by one. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Delivery, void, undefined> {
    try {
      yield* this.#deliveries();
    } finally {
      this.close();
    }
  }

  async *#deliveries(): AsyncGenerator<Delivery, void, undefined> {
    for (;;) {
      const a = await this.#sub.inbox.next();
      if (a === undefined) return;
      for (const d of a.events) {
        // What came on a connection that is gone since, or will be, comes again.
        if (this.#sub.begin(d)) yield d;
      }
    }
  }

  /** Leaves the subscription. Events that were not acked go to other subscribers, or wait. */
  close(): void {
    this.#sub.leave(undefined);
  }
}

/** Answers a delivery by its handler's result. A lost lease is ignored: the event comes again. */
async function reply(d: Delivery, handle: Handler): Promise<void> {
  let answer: () => Promise<void>;
  try {
    await handle(d);
    answer = () => d.ack();
  } catch (e) {
    answer =
      e instanceof Refusal
        ? () => d.nack(e.action, e.options)
        : () => d.nack("retry", { reason: e instanceof Error ? e.message : String(e) });
  }
  await answer().catch(() => {});
}

/** A subscriber's time on one connection: its deliveries can be answered only in it. */
class Lease {
  held = true;
  /** The node shuts down: what is not begun is left to others. */
  leaving = false;
  /** The positions that were given to the caller and are not answered, in that order. */
  readonly #open = new Set<number>();
  readonly #link: Link;
  readonly #sub: number;
  /** The acks of this turn of the event loop, each with its answer. */
  readonly #acks: Record<"durable" | "plain", { position: number; answer: Deferred }[]> = { durable: [], plain: [] };

  constructor(link: Link, sub: number) {
    this.#link = link;
    this.#sub = sub;
  }

  /** Notes that the caller gets an event, if it still may. */
  begin(position: number): boolean {
    if (!this.held || this.leaving) return false;
    this.#open.add(position);
    return true;
  }

  /** Whether the caller has an event that is not answered. */
  get handling(): boolean {
    return this.leaving && this.#open.size > 0;
  }

  ack(position: number, durable: boolean): Promise<void> {
    const { plain, durable: stored } = this.#acks;
    if (plain.length + stored.length === 0) queueMicrotask(() => this.#flush());
    const answer = new Deferred();
    (durable ? stored : plain).push({ position, answer });
    return answer.promise;
  }

  #flush(): void {
    for (const kind of ["plain", "durable"] as const) {
      const acks = this.#acks[kind].splice(0);
      if (acks.length === 0) continue;
      const positions = acks.map((a) => a.position);
      for (const p of positions) this.#open.delete(p);
      this.#ack({ positions }, kind === "durable").then(
        () => acks.forEach((a) => a.answer.resolve()),
        (why: GyreError) => {
          // The server took the others.
          const refused = why.code === "unexpected_ack" && why.positions !== undefined ? new Set(why.positions) : undefined;
          acks.forEach((a) => (refused?.has(a.position) === false ? a.answer.resolve() : a.answer.reject(why)));
        },
      );
    }
  }

  ackUpTo(position: number, durable: boolean): Promise<void> {
    this.#flush();
    if (this.#open.has(position)) {
      for (const p of this.#open) {
        this.#open.delete(p);
        if (p === position) break;
      }
    }
    const answer = this.#ack({ upTo: position }, durable);
    answer.catch(() => {});
    return answer;
  }

  #ack(t: AckTarget, durable: boolean): Promise<void> {
    return this.#ask((id) => (this.#link.bin ? ackFrame : ackText)(id, this.#sub, t, durable), durable);
  }

  nack(positions: readonly number[], n: NackFields): Promise<void> {
    for (const p of positions) this.#open.delete(p);
    return this.#request((id) => nackText(id, this.#sub, positions, n));
  }

  extend(positions: readonly number[], ms: number): Promise<void> {
    return this.#request((id) => extendText(id, this.#sub, positions, ms));
  }

  /** Sends a request, after the acks that were asked for before it. */
  #request(encode: (id: number) => string | Uint8Array): Promise<void> {
    this.#flush();
    const answer = this.#ask(encode);
    answer.catch(() => {});
    return answer;
  }

  async #ask(encode: (id: number) => string | Uint8Array, waits = false): Promise<void> {
    if (!this.held) throw leaseLost();
    try {
      await this.#link.request({ encode, once: true, waits });
    } catch (cause) {
      throw this.held ? cause : leaseLost(cause);
    }
  }
}

function leaseLost(cause?: unknown): GyreError {
  return new GyreError("lease_lost", "its connection is gone; it is delivered again", { cause });
}

class NamedSub implements Sub {
  readonly num: number;
  readonly inbox: Inbox<Delivery>;
  readonly begun = new Deferred();
  accepted = false;
  status: SubscriptionStatus = { state: "idle", checkpoint: 0, head: 0 };
  readonly #link: Link;
  readonly #subscription: string;
  readonly #options: SubscribeOptions;

  readonly #limits: ReturnType<typeof bound>;
  readonly #leases = new WeakMap<Delivery, Lease>();
  #lease: Lease;
  /** The last reported cursor: where a transient subscription begins again. */
  #place: string | undefined;
  /** The incarnation of the subscription that was joined. */
  #incarnation: string | undefined;

  constructor(link: Link, num: number, subscription: string, o: SubscribeOptions) {
    this.num = num;
    this.#link = link;
    this.#subscription = subscription;
    this.#options = o;
    this.#lease = new Lease(link, num);
    this.inbox = new Inbox({ ...defaultCredit, ...o.credit }, (c) => link.credit(this, c));
    this.#limits = bound(
      o.signal,
      o.timeoutMs ?? requestMs,
      () => this.leave(abortError(o.signal as AbortSignal)),
      () => this.leave(link.explain(new GyreError("timeout", "the subscription was not joined in time"))),
    );
  }

  /** How many events consume handles at a time. */
  get workers(): number {
    return Math.max(1, this.#options.workers ?? 1);
  }

  subscribe(id: number): string {
    const { consumer, workers, bufferSize, transient } = this.#options;
    return namedText(id, this.num, {
      subscription: this.#subscription,
      transient,
      consumer,
      workers,
      bufferSize,
      ...this.#asked(),
      credit: this.inbox.allowance(),
    });
  }

  /** The options of a subscribe: a transient subscription begins at its last place, a stored one is joined again as the same incarnation. */
  #asked(): { options?: object | undefined; anyOptions?: boolean | undefined; incarnation?: string | undefined } {
    const { options, anyOptions, transient } = this.#options;
    if (transient) return { options: this.#place === undefined ? options : { ...options, from: { cursor: this.#place } } };
    if (this.#incarnation !== undefined) return { incarnation: this.#incarnation };
    return options === undefined ? { options: {}, anyOptions: true } : { options, anyOptions };
  }

  accept(ok: OK): void {
    this.accepted = true;
    this.#incarnation = ok.incarnation;
    this.#place = ok.cursor ?? this.#place;
    const checkpoint = ok.cursor === undefined ? this.status.checkpoint : placeOf(ok.cursor);
    this.#tell({ state: ok.state ?? "catchup", ...(ok.reason !== undefined && { reason: ok.reason }), checkpoint, head: ok.head ?? 0 });
    this.#limits.begun();
    this.begun.resolve();
  }

  take(events: RecordedEvent[], attempts: number[] | undefined, replay: boolean, cursor: string | undefined, bytes: number): void {
    if (this.#lease.leaving) return;
    const deliveries = events.map((e, i) => {
      const d = new Delivery(e, attempts?.[i] ?? 1, replay, this.#lease);
      this.#leases.set(d, this.#lease);
      return d;
    });
    this.inbox.push({ events: deliveries, bytes, cursor: cursor ?? "", head: this.status.head, live: this.status.state === "live" });
  }

  /** Notes that the caller gets a delivery; false if it is to be left out. */
  begin(d: Delivery): boolean {
    return this.#leases.get(d)?.begin(d.position) === true;
  }

  retire(): void {
    this.#lease.leaving = true;
    this.inbox.clear();
  }

  get handling(): boolean {
    return this.#lease.handling;
  }

  report(s: Status): void {
    this.#place = s.cursor;
    const { reason, head } = s;
    const state = s.state === "checkpoint" ? this.status.state : s.state;
    this.#tell({ state, ...(reason !== undefined && { reason }), checkpoint: placeOf(s.cursor), head });
  }

  #tell(s: SubscriptionStatus): void {
    const { state, reason, checkpoint, head } = this.status;
    this.status = s;
    if (s.state !== state || s.reason !== reason || s.checkpoint !== checkpoint || s.head !== head) this.#options.onStatus?.(s);
  }

  lost(): void {
    const { checkpoint, head } = this.status;
    this.#tell({ state: "idle", checkpoint, head });
    this.#lease.held = false;
    this.#lease = new Lease(this.#link, this.num);
    this.inbox.clear();
  }

  end(why: GyreError | undefined): void {
    this.#limits.over();
    this.#lease.held = false;
    this.inbox.end(why);
    this.begun.reject(why ?? new GyreError("canceled", "the subscription was left"));
  }

  /** Ends what is to be taken, and not the lease: what was taken can be answered. */
  takeNoMore(): void {
    this.inbox.clear();
    this.inbox.end(undefined);
  }

  /** Ends it from this side, at once. */
  leave(why: GyreError | undefined): void {
    this.inbox.clear();
    this.#link.leave(this);
    this.end(why);
  }
}
