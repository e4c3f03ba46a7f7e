import type { Address } from "./address.js";
import { abortError, broken, type ErrorObject, errorOf, GyreError } from "./errors.js";
import type { RecordedEvent } from "./event.js";
import { creditFrame, type ResultRange, type ServerFrame } from "./frames.js";
import {
  type Amount,
  type Appended,
  cancelText,
  creditText,
  type OK,
  type ServerMessage,
  type Status,
  unsubscribeText,
} from "./messages.js";
import { type Failed, type Nodes, together } from "./nodes.js";
import { type Receiver, Session, type SessionOptions } from "./session.js";
import { utf8Length } from "./text.js";
import { Window } from "./window.js";

/** Bounds a request that has no timeout of its own. */
export const requestMs = 30_000;
/** How much later than at the node a deadline is here: its answer says whether an append was written. */
const answerMs = 50;
/** Bounds the appends that wait for an answer: they are kept, to be sent again if the connection breaks. */
const inflightBytes = 32 << 20;
/** A timer of more than that fires at once. */
const maxTimerMs = 2 ** 31 - 1;
const minBackoffMs = 50;
const maxBackoffMs = 5000;
/** Bounds one round over all addresses after the first. */
const reconnectMs = 10_000;
/** Bounds the try of one address of several. */
const addressMs = 5000;
/** Divides the pause before another node is dialed: the one that a node asks for is for coming back to it. */
const elsewhereSooner = 4;

/** What bounds a request. */
export interface Limits {
  /** Ends the request early: it rejects with canceled or, an append, with unknown_outcome. */
  signal?: AbortSignal | undefined;
  /** The timeout in ms, which the server applies, too; 30,000 if absent. */
  timeoutMs?: number | undefined;
}

/** The state of a client's connection. */
export interface ConnectionState {
  readonly connected: boolean;
  /** The http or https URL of the node, while connected. */
  readonly address?: string;
  /** Why it is not; absent after close. */
  readonly error?: GyreError;
}

/** A follow, or a subscriber of a named subscription, as the link sees it. */
export interface Sub {
  /** Unique among those of this client. */
  readonly num: number;
  /** Whether the server has accepted it once. */
  readonly accepted: boolean;
  /** The subscribe to send, with all credit there is. */
  subscribe(id: number): string;
  accept(ok: OK, log: string): void;
  take(events: RecordedEvent[], attempts: number[] | undefined, replay: boolean, cursor: string | undefined, bytes: number): void;
  report(s: Status): void;
  /** The connection is gone; subscribe will be called for the next. */
  lost(): void;
  /** It is over. */
  end(why: GyreError): void;
  /** Takes no more on this connection: what was not taken is left to others. */
  retire?(): void;
  /** After retire: whether something that was taken is still handled. */
  readonly handling?: boolean;
}

/** An answer to a request. */
export interface Answer {
  ok?: OK;
  /** Of a read. */
  events?: RecordedEvent[];
  /** Of an append, in binary. */
  result?: { appends: Appended[]; duplicate: boolean };
}

export interface Request extends Limits {
  encode(id: number): string | Uint8Array;
  /** Without an answer its outcome is not known. */
  append?: boolean;
  /** It means something on the present connection only. */
  once?: boolean;
  /** Its answer waits for others to be handled: it has no deadline, and takes no room of other requests. */
  waits?: boolean;
}

/** A request that waits for its answer. Who removes it from calls settles it. */
interface Call {
  id: number;
  message: string | Uint8Array;
  append: boolean;
  once: boolean;
  waits: boolean;
  /** The connections that it was sent on, without those that have refused it unread. */
  tries: number;
  /** Unread, by the present connection. */
  refused: boolean;
  sub?: Sub;
  events?: RecordedEvent[];
  settle(a: Answer | GyreError): void;
}

/** What one client has to do with its node: a connection at a time, what waits for answers, and subs. */
export class Link implements Receiver {
  readonly #nodes: Nodes;
  readonly #options: Omit<SessionOptions, "url">;
  readonly #onState: ((s: ConnectionState) => void) | undefined;
  readonly #calls = new Map<number, Call>();
  readonly #subs = new Map<number, Sub>();
  readonly #closing = new AbortController();
  #window!: Window;
  #frameLimit = 0;
  #lastId = 1; // hello's
  #session: Session | undefined;
  #down: GyreError | undefined; // why there is no session
  #failed: GyreError | undefined; // why there will be none any more
  #running: Promise<void> | undefined;
  /** Ends a pause between two tries. */
  #hurry: (() => void) | undefined;

  constructor(nodes: Nodes, options: Omit<SessionOptions, "url">, onState: ((s: ConnectionState) => void) | undefined) {
    this.#nodes = nodes;
    this.#options = options;
    this.#onState = onState;
  }

  /** Makes the first connection, in so many ms. */
  async dial(signal: AbortSignal, ms: number): Promise<void> {
    const s = await this.#connect(this.#nodes.first(), signal, ms);
    this.#window = new Window(s.welcome.limits.inflight, inflightBytes);
    this.#frameLimit = s.welcome.limits.frame;
    this.#attach(s);
    this.#running = this.#run(s);
  }

  /** The word that cursors of the log begin with; undefined while there is no connection. */
  get log(): string | undefined {
    return this.#session?.welcome.log;
  }

  get bin(): boolean {
    return !this.#options.json;
  }

  get connected(): boolean {
    return this.#session !== undefined;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#hurry?.();
    await this.#session?.goodbye();
    await this.#running;
  }

  /** Connects to the first address that answers. Each has its share of the time. */
  async #connect(order: readonly Address[], signal: AbortSignal, ms: number): Promise<Session> {
    const failed: Failed[] = [];
    for (const at of order) {
      try {
        const s = await this.#connectTo(at, signal, order.length === 1 ? undefined : Math.min(addressMs, ms / order.length));
        this.#nodes.at = at;
        return s;
      } catch (err) {
        const error = err as GyreError;
        if (GyreError.is(error, "canceled")) throw error;
        failed.push({ at, error });
        if (signal.aborted) break;
      }
    }
    throw together(failed);
  }

  async #connectTo(at: Address, signal: AbortSignal, ms: number | undefined): Promise<Session> {
    const trying = ms === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(ms)]);
    try {
      return await Session.open({ ...this.#options, url: at.ws }, this, trying);
    } catch (err) {
      if (signal.aborted) throw err;
      if (trying.aborted) throw new GyreError("unavailable", `${at.http} did not answer in ${ms} ms`, { cause: err });
      if (!GyreError.is(err, "unavailable")) throw err;
      throw (await this.#whyRefused(at, trying)) ?? err;
    }
  }

  /** Asks over HTTP why there is no connection: a WebSocket does not tell the server's reason. */
  async #whyRefused(at: Address, signal: AbortSignal): Promise<GyreError | undefined> {
    try {
      const r = await fetch(`${at.http}/v1/server`, { signal: AbortSignal.any([signal, AbortSignal.timeout(requestMs)]) });
      return r.ok ? undefined : problemOf(await r.json());
    } catch (cause) {
      const origin = "location" in globalThis ? ", or does not allow this page's origin" : "";
      return new GyreError("unavailable", `${at.http} cannot be reached${origin}`, { cause });
    }
  }

  /** Keeps the client connected until it is closed, or the server wants no more of it. */
  async #run(first: Session): Promise<void> {
    for (let s: Session | undefined = first; s !== undefined; ) {
      this.#tell({ connected: true, address: this.#nodes.at.http });
      const why = await s.ended;
      s = await this.#again(s, s.comeBackInMs === undefined ? why : this.#shutsDown());
    }
  }

  /** Makes the next session; undefined when there is to be none. */
  async #again(old: Session, error: GyreError): Promise<Session | undefined> {
    for (let attempt = 0; ; attempt++) {
      this.#detach(error);
      if (this.#closing.signal.aborted) {
        this.#fail(new GyreError("canceled", "the client was closed"));
        this.#tell({ connected: false });
        return undefined;
      }
      this.#tell({ connected: false, error });
      if (!error.retryable) {
        this.#fail(error);
        return undefined;
      }
      const away = old.comeBackInMs;
      const order = this.#nodes.next(away !== undefined);
      const asked = away !== undefined && order.length > 1 ? away / elsewhereSooner : away;
      await this.#pause(attempt === 0 && asked !== undefined ? asked : backoff(attempt));
      if (this.#closing.signal.aborted) continue;
      try {
        const s = await this.#connect(order, this.#closing.signal, reconnectMs);
        this.#attach(s);
        return s;
      } catch (err) {
        error = err as GyreError;
      }
    }
  }

  /** Waits, but no longer than until the network is back or the client is closed. */
  async #pause(ms: number): Promise<void> {
    const target = globalThis as Partial<EventTarget>;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
      target.addEventListener?.("online", this.#hurry);
    });
    target.removeEventListener?.("online", this.#hurry as () => void);
    this.#hurry = undefined;
  }

  #tell(s: ConnectionState): void {
    // What the callback throws is not ours to handle, nor may it end the loop.
    if (this.#onState !== undefined) queueMicrotask(() => this.#onState?.(s));
  }

  /** Puts a session to use: what waits for an answer is sent again, in order, and the subs go on. */
  #attach(s: Session): void {
    this.#session = s;
    this.#down = undefined;
    this.#nodes.learn(s.welcome.nodes);
    for (const call of this.#calls.values()) {
      delete call.events;
      call.refused = false;
      call.tries++;
      s.send(call.message);
    }
    for (const sub of this.#subs.values()) this.#subscribe(sub);
  }

  #detach(why: GyreError): void {
    this.#session = undefined;
    this.#down = why;
    for (const call of [...this.#calls.values()]) {
      if (call.sub !== undefined || call.once) {
        this.#calls.delete(call.id);
        if (call.once) call.settle(why);
      }
    }
    for (const sub of this.#subs.values()) sub.lost();
  }

  /** Ends everything that waits, and what comes later. */
  #fail(why: GyreError): void {
    this.#failed = why;
    const calls = [...this.#calls.values()];
    const subs = [...this.#subs.values()];
    this.#calls.clear();
    this.#subs.clear();
    for (const call of calls) call.settle(lost(call, why));
    for (const sub of subs) sub.end(why);
  }

  /** Sends a request, once there is room for it, and waits for its answer. */
  request(r: Request): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { signal } = r;
      if (signal?.aborted) throw abortError(signal);
      const id = ++this.#lastId;
      const message = r.encode(id);
      const size = typeof message === "string" ? utf8Length(message) : message.length;
      if (size > this.#frameLimit) {
        const detail = `the request takes a message of ${size} bytes, the server's limit is ${this.#frameLimit}`;
        throw new GyreError("frame_too_large", detail, { limit: this.#frameLimit });
      }
      const timeoutMs = r.waits ? maxTimerMs : Math.min(r.timeoutMs ?? requestMs, maxTimerMs);
      const late = () => abandon(new GyreError("timeout", `no answer in ${timeoutMs} ms`));
      const timer = setTimeout(late, Math.min(timeoutMs + answerMs, maxTimerMs));
      const aborted = () => abandon(abortError(signal as AbortSignal));
      signal?.addEventListener("abort", aborted);
      let leave: (() => void) | undefined;
      let settled = false;
      const call: Call = {
        id,
        message,
        append: r.append === true,
        once: r.once === true,
        waits: r.waits === true,
        tries: 0,
        refused: false,
        settle: (a) => {
          settled = true;
          clearTimeout(timer);
          signal?.removeEventListener("abort", aborted);
          leave?.();
          if (a instanceof GyreError) reject(a);
          else resolve(a);
        },
      };
      const abandon = (why: GyreError) => this.#abandon(call, this.#explained(why));
      try {
        if (r.waits) this.#start(call);
        else leave = this.#window.enter(size, () => this.#start(call));
      } catch (err) {
        call.settle(err as GyreError);
        return;
      }
      if (settled) leave?.(); // it was, before there was anything to leave
    });
  }

  #start(call: Call): void {
    if (this.#failed !== undefined) {
      call.settle(this.#failed);
    } else if (this.#session === undefined && call.once) {
      call.settle(this.#explained(new GyreError("unavailable", "the request was about a connection that is gone")));
    } else {
      this.#calls.set(call.id, call);
      if (this.#session === undefined) return;
      call.tries++;
      this.#session.send(call.message);
    }
  }

  /** Ends a call without its answer. */
  #abandon(call: Call, why: GyreError): void {
    if (this.#calls.delete(call.id)) {
      this.#session?.send(cancelText(call.id));
      call.settle(lost(call, why));
      this.#leaveIfDone();
    } else {
      call.settle(why); // it was not sent yet
    }
  }

  /** Why a request ended without an answer: where there is no connection, the reason for that, too. */
  #explained(why: GyreError): GyreError {
    if (this.#down === undefined) return why;
    return new GyreError(why.code, `${why.detail}; there is no connection: ${this.#down.detail}`, { cause: why.cause ?? this.#down });
  }

  /** Begins a sub. It goes on over connections until it ends or leaves. */
  join(make: (num: number) => Sub): void {
    const sub = make(++this.#lastId);
    if (this.#failed !== undefined) {
      sub.end(this.#failed);
      return;
    }
    this.#subs.set(sub.num, sub);
    this.#subscribe(sub);
  }

  /** Ends a sub from this side. */
  leave(sub: Sub): void {
    if (this.#subs.delete(sub.num)) this.#session?.send(unsubscribeText(++this.#lastId, sub.num));
  }

  /** Lets the server send a sub more. Without a connection the next subscribe gives all. */
  credit(sub: Sub, c: Amount): void {
    this.#session?.send(this.bin ? creditFrame(sub.num, c) : creditText(sub.num, c));
  }

  /** A reason with that of having no connection. */
  explain(why: GyreError): GyreError {
    return this.#explained(why);
  }

  #subscribe(sub: Sub): void {
    const s = this.#session;
    if (s === undefined) return;
    const id = ++this.#lastId;
    const timer = setTimeout(() => this.#abandonSub(id), requestMs);
    const call: Call = {
      id,
      message: sub.subscribe(id),
      append: false,
      once: false,
      waits: false,
      tries: 1,
      refused: false,
      sub,
      settle: (a) => {
        clearTimeout(timer);
        if (a instanceof GyreError) this.#ended(sub, a);
        else if (a.ok !== undefined) sub.accept(a.ok, s.welcome.log);
      },
    };
    s.ended.then(() => clearTimeout(timer));
    this.#calls.set(id, call);
    s.send(call.message);
  }

  #abandonSub(id: number): void {
    const call = this.#calls.get(id);
    if (call !== undefined) this.#abandon(call, new GyreError("timeout", `no answer in ${requestMs} ms`));
  }

  /** Takes the server's end of a sub. One that may be begun again is, after a pause; the first subscribe is the caller's to repeat. */
  #ended(sub: Sub, why: GyreError): void {
    if (this.#subs.get(sub.num) !== sub) return;
    const leaving = why.code === "shutting_down";
    if (!(sub.accepted && why.retryable) && !leaving && why.code !== "too_many_requests") {
      this.#subs.delete(sub.num);
      sub.end(why);
      return;
    }
    sub.lost();
    if (leaving) return; // the next connection will do it
    const s = this.#session;
    setTimeout(
      () => {
        if (this.#subs.get(sub.num) === sub && this.#session === s) this.#subscribe(sub);
      },
      minBackoffMs * (1 + 5 * Math.random()),
    );
  }

  #answered(id: number, a: Answer | GyreError): void {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    if (call.sub === undefined && GyreError.is(a, "shutting_down")) {
      // A node that shuts down has not taken a request: the next connection will.
      call.refused = true;
      call.tries--;
      if (this.#session !== undefined) this.#session.comeBackInMs ??= 1;
    } else {
      this.#calls.delete(id);
      if (a instanceof GyreError) a = certain(call, a);
      else if (call.events !== undefined) a.events = call.events;
      call.settle(a);
    }
    this.#leaveIfDone();
  }

  /**
   * Ends the use of a node that shuts down, as soon as that owes no answer and no event of it
   * is handled. The node would keep the connection for as long as others wait for answers.
   */
  #leaveIfDone(): void {
    const s = this.#session;
    if (s?.comeBackInMs === undefined || [...this.#calls.values()].some((c) => !c.refused && !c.waits)) return;
    if ([...this.#subs.values()].some((sub) => sub.handling)) return;
    this.#session = undefined;
    this.#down = this.#shutsDown();
    void s.goodbye(); // it does not reject
  }

  /** Why a connection is over whose node has asked the client to leave. */
  #shutsDown(): GyreError {
    return new GyreError("unavailable", `${this.#nodes.at.http} shuts down`);
  }

  #page(id: number, events: RecordedEvent[]): void {
    const call = this.#calls.get(id);
    if (call !== undefined) call.events = events;
  }

  #results({ id, n, version, position }: ResultRange): void {
    if (n > this.#calls.size) throw broken("more results than requests");
    for (let i = 0; i < n; i++) {
      this.#answered(id + i, { result: { appends: [{ version: version + i, position: position + i, count: 1 }], duplicate: false } });
    }
  }

  /** Receiver. */
  frame(f: ServerFrame): void {
    switch (f.kind) {
      case 1:
        if (f.answer) this.#page(f.sub, f.events);
        else this.#subs.get(f.sub)?.take(f.events, f.attempts, f.replay, undefined, f.bytes);
        break;
      case 3:
        for (const r of f.ranges) this.#results(r);
        break;
      case 7:
        this.#answered(f.id, { result: f });
    }
  }

  /** Receiver. */
  message(m: ServerMessage, text: string): void {
    switch (m.op) {
      case "ok":
        if (m.events !== undefined) this.#page(m.id, m.events);
        this.#answered(m.id, { ok: m });
        break;
      case "error":
        if (m.id !== undefined) this.#answered(m.id, errorOf(m.error));
        break;
      case "events":
        this.#subs.get(m.sub)?.take(m.events, m.attempts, m.replay === true, m.cursor, utf8Length(text));
        break;
      case "status":
        this.#subs.get(m.sub)?.report(m);
        break;
      case "end": {
        const sub = this.#subs.get(m.sub);
        if (sub !== undefined) this.#ended(sub, errorOf(m.error));
        break;
      }
      case "goaway":
        this.#nodes.learn(m.nodes);
        for (const sub of this.#subs.values()) sub.retire?.();
        this.#leaveIfDone();
    }
  }

  /** Asks over HTTP, the next node if one cannot answer now; the answer's text. */
  async get(path: string, limits: Limits): Promise<string> {
    const timeout = AbortSignal.timeout(Math.min(limits.timeoutMs ?? requestMs, maxTimerMs));
    const signal = AbortSignal.any([timeout, this.#closing.signal, ...(limits.signal ? [limits.signal] : [])]);
    const failed: Failed[] = [];
    for (const at of this.#nodes.now()) {
      try {
        const r = await fetch(at.http + path, { signal });
        const text = await r.text();
        if (r.ok) return text;
        const error = problemOf(parsed(text)) ?? new GyreError("unavailable", `${at.http} answered ${r.status}`);
        if (r.status < 500 || !error.retryable) throw error;
        failed.push({ at, error });
      } catch (err) {
        if (err instanceof GyreError) throw err;
        if (signal.aborted) throw abortError(signal);
        failed.push({ at, error: new GyreError("unavailable", `${at.http} cannot be reached`, { cause: err }) });
      }
    }
    throw together(failed);
  }
}

/**
 * What a caller may be told of a refusal. An append that was sent again may be refused while
 * its first try is still to be written: only a refusal that holds for both is certain.
 */
function certain(call: Call, e: GyreError): GyreError {
  if (!call.append || call.tries < 2 || isFinal(e)) return e;
  return new GyreError("unknown_outcome", `the append was sent again after the connection broke, and refused: ${e.message}`, { cause: e });
}

/** Whether a refused append can never be written, whatever else is. Streams do not shrink, and an id stays where it is. */
function isFinal({ code, expected, actual }: GyreError): boolean {
  if (code !== "wrong_expected_version") return code === "duplicate_event";
  return expected === "no_stream" || (typeof expected === "number" && actual !== undefined && actual > expected);
}

/** The error of a call that will get no answer. */
function lost(call: Call, why: GyreError): GyreError {
  if (!call.append) return why;
  return new GyreError("unknown_outcome", `the append was not answered: ${why.detail}`, { cause: why });
}

/** How long to wait before a try: anything up to twice the last. */
function backoff(attempt: number): number {
  return minBackoffMs / 5 + Math.random() * Math.min(maxBackoffMs, minBackoffMs * 2 ** attempt);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The error of an HTTP answer, if it is one of ours. */
function problemOf(body: unknown): GyreError | undefined {
  const o = body as Partial<ErrorObject> | null | undefined;
  return typeof o?.code === "string" ? errorOf(o as ErrorObject) : undefined;
}
