import {
  backoff,
  Connection,
  type ConnectionOptions,
  type ConnectionState,
  type ConnectionUser,
  type Fetched,
  given,
  type Limits,
  maxTimerMs,
  minBackoffMs,
  requestMs,
  type Token,
  within,
} from "./connection.js";
import { abortError, broken, errorOf, GyreError } from "./errors.js";
import type { RecordedEvent } from "./event.js";
import { creditFrame, type ResultsFrame, type ServerFrame } from "./frames.js";
import {
  type Amount,
  type Appended,
  cancelText,
  creditText,
  type OK,
  refreshText,
  type ServerMessage,
  type Status,
  unsubscribeText,
} from "./messages.js";
import type { Nodes } from "./nodes.js";
import type { Session } from "./session.js";
import { utf8Length } from "./text.js";
import { Window } from "./window.js";

/** How much later than at the node a deadline is here: its answer says whether an append was written. */
const answerMs = 50;
/** Bounds the appends that wait for an answer: they are kept, to be sent again if the connection breaks. */
const inflightBytes = 32 << 20;

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
  result?: { appends: Appended[]; duplicate: boolean; node?: string | undefined };
}

export interface Request extends Limits {
  encode(id: number): string | Uint8Array;
  /** Without an answer its outcome is not known. */
  append?: boolean;
  /** An append that does nothing but move a place. */
  moves?: boolean;
  /** It means something on the present connection only. */
  once?: boolean;
  /** Its answer waits for others to be handled: it has no deadline, and takes no room of other requests. */
  waits?: boolean;
  /** The feature that it has fields of, if any: a server without it would pass over them. */
  needs?: string | undefined;
}

/** A request that waits for its answer. Who removes it from calls settles it. */
interface Call {
  id: number;
  message: string | Uint8Array;
  append: boolean;
  moves: boolean;
  once: boolean;
  waits: boolean;
  needs?: string | undefined;
  /** The connections that it was sent on, without those that have refused it unread. */
  tries: number;
  /** Unread, by the present connection. */
  refused: boolean;
  /** How often an overloaded node has refused it. */
  overloaded: number;
  /** Until when it may be sent again, in ms. */
  by?: number;
  sub?: Sub;
  events?: RecordedEvent[];
  settle(a: Answer | GyreError): void;
}

/** What one client asks of its node: requests that wait for answers, and subs, which go on over sessions. */
export class Link implements ConnectionUser {
  readonly #options: ConnectionOptions;
  readonly #connection: Connection;
  readonly #calls = new Map<number, Call>();
  readonly #subs = new Map<number, Sub>();
  #window!: Window;
  #frameLimit = 0;
  #features: readonly string[] = [];
  #lastId = 1; // hello's
  #lastAppend = 0; // the id of the last that was sent
  /** An append that is about to be sent again, and those that wait behind it. */
  #held: Call[] | undefined;
  #failed: GyreError | undefined; // why there will be no session any more

  constructor(nodes: Nodes, options: ConnectionOptions, onState: ((s: ConnectionState) => void) | undefined) {
    this.#options = options;
    this.#connection = new Connection(nodes, options, this, onState);
  }

  /** Makes the first connection, in so many ms. */
  async dial(signal: AbortSignal, ms: number): Promise<void> {
    const { limits } = await this.#connection.dial(signal, ms);
    this.#window = new Window(limits.inflight, inflightBytes);
    this.#frameLimit = limits.frame;
  }

  /** The word that cursors of the log begin with; undefined while there is no connection. */
  get log(): string | undefined {
    return this.#session?.welcome.log;
  }

  get bin(): boolean {
    return this.#connection.bin;
  }

  get connected(): boolean {
    return this.#session !== undefined;
  }

  get #session(): Session | undefined {
    return this.#connection.session;
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  /** Asks over HTTP; the answer's text. */
  fetch(path: string, init: Fetched, limits: Limits): Promise<string> {
    return this.#connection.fetch(path, init, limits);
  }

  /** Goes on with another token. */
  async refresh(token: Token, l: Limits): Promise<void> {
    const text = await given(token, within(requestMs, l.signal));
    await this.request({ ...l, encode: (id) => refreshText(id, text) });
    this.#options.token = token;
  }

  /** ConnectionUser: what waits for an answer is sent again, in order, and the subs go on. */
  attach(s: Session): void {
    this.#features = s.welcome.features;
    this.#held = undefined;
    for (const call of this.#calls.values()) {
      const why = this.#lacks(call);
      if (why) {
        this.#calls.delete(call.id);
        call.settle(call.tries > 0 ? lost(call, why) : why);
        continue;
      }
      delete call.events;
      call.refused = false;
      call.tries++;
      s.send(call.message);
    }
    for (const sub of this.#subs.values()) this.#subscribe(sub);
  }

  /** ConnectionUser. */
  detach(why: GyreError): void {
    for (const call of [...this.#calls.values()]) {
      if (call.sub !== undefined || call.once) {
        this.#calls.delete(call.id);
        if (call.once) call.settle(why);
      }
    }
    for (const sub of this.#subs.values()) sub.lost();
  }

  /** ConnectionUser: ends everything that waits, and what comes later. */
  fail(why: GyreError): void {
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
        const detail = `the request has ${size} bytes, the limit is ${this.#frameLimit}`;
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
        moves: r.moves === true,
        once: r.once === true,
        waits: r.waits === true,
        needs: r.needs,
        tries: 0,
        refused: false,
        overloaded: 0,
        by: Date.now() + timeoutMs,
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

  /** Why the newest server is not asked; undefined if it is. */
  #lacks({ needs }: Call): GyreError | undefined {
    if (needs && !this.#features.includes(needs)) return new GyreError("not_supported", `the server has no ${needs}`);
  }

  #start(call: Call): void {
    const why = this.#failed ?? this.#lacks(call);
    if (why) {
      call.settle(why);
    } else if (this.#session === undefined && call.once) {
      call.settle(this.#explained(new GyreError("unavailable", "its connection is gone")));
    } else {
      this.#calls.set(call.id, call);
      if (this.#session === undefined) return;
      if (call.append) {
        this.#lastAppend = call.id;
        if (this.#held?.push(call)) return;
      }
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
    const { down } = this.#connection;
    if (down === undefined) return why;
    return new GyreError(why.code, `${why.detail}; there is no connection: ${down.detail}`, { cause: why.cause ?? down });
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
      moves: false,
      once: false,
      waits: false,
      tries: 1,
      refused: false,
      overloaded: 0,
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
    } else if (!this.#tryLater(call, a)) {
      this.#calls.delete(id);
      if (a instanceof GyreError) a = certain(call, a);
      else if (call.events !== undefined) a.events = call.events;
      call.settle(a);
    }
    this.#leaveIfDone();
  }

  /**
   * Sends a request that an overloaded node has refused again, after a pause, if its time allows
   * that. Of an append that is known to be the last: later ones wait behind it, and none that was
   * sent can be taken before it.
   */
  #tryLater(call: Call, why: Answer | GyreError): boolean {
    const s = this.#session;
    if (!GyreError.is(why, "overloaded") || (call.append && (call.id !== this.#lastAppend || call.tries > 1))) return false;
    const ms = (why.retryAfterMs ?? 0) + backoff(call.overloaded++);
    if (Date.now() + ms >= (call.by ?? 0)) return false;
    const held = [call];
    if (call.append) this.#held = held;
    setTimeout(() => {
      if (this.#session !== s) return; // attach has sent it
      if (call.append) this.#held = undefined;
      for (const c of held) {
        if (!this.#calls.has(c.id)) continue;
        c.tries ||= 1;
        s?.send(c.message);
      }
    }, ms);
    return true;
  }

  /**
   * Ends the use of a node that shuts down, as soon as that owes no answer and no event of it
   * is handled. The node would keep the connection for as long as others wait for answers.
   */
  #leaveIfDone(): void {
    const s = this.#session;
    if (s?.comeBackInMs === undefined || [...this.#calls.values()].some((c) => !c.refused && !c.waits)) return;
    if ([...this.#subs.values()].some((sub) => sub.handling)) return;
    this.#connection.leave();
  }

  #page(id: number, events: RecordedEvent[]): void {
    const call = this.#calls.get(id);
    if (call !== undefined) call.events = events;
  }

  #results({ node, ranges }: ResultsFrame): void {
    for (const { id, n, version, position } of ranges) {
      if (n > this.#calls.size) throw broken("there are too many results");
      for (let i = 0; i < n; i++) {
        const appends = [{ version: version + i, position: position + i, count: 1 }];
        this.#answered(id + i, { result: { appends, duplicate: false, node } });
      }
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
        this.#results(f);
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
        this.#connection.learn(m.nodes);
        for (const sub of this.#subs.values()) sub.retire?.();
        this.#leaveIfDone();
    }
  }
}

/**
 * What a caller may be told of a refusal. An append that was sent again may be refused while
 * its first try is still to be written: only a refusal that holds for both is certain.
 */
function certain(call: Call, e: GyreError): GyreError {
  if (!call.append || call.tries < 2 || isFinal(call, e)) return e;
  return new GyreError("unknown_outcome", `sent again, it was refused: ${e.message}`, { cause: e });
}

/**
 * Whether a refused append was not and can never be written, whatever else is. Streams do not
 * shrink, an id stays where it is, and a place moves forward: but a move without events may
 * have been made, and followed by another.
 */
function isFinal({ moves }: Call, { code, expected, actual }: GyreError): boolean {
  if (code === "progress_conflict") return !moves && Number(actual) > Number(expected);
  if (code !== "wrong_expected_version") return code === "duplicate_event";
  return expected === "no_stream" || (typeof expected === "number" && actual !== undefined && actual > expected);
}

/** The error of a call that will get no answer. */
function lost(call: Call, why: GyreError): GyreError {
  if (!call.append) return why;
  return new GyreError("unknown_outcome", `not answered: ${why.detail}`, { cause: why });
}
