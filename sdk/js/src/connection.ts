import type { Address } from "./address.js";
import { abortError, type ErrorObject, errorOf, GyreError } from "./errors.js";
import type { Welcome } from "./messages.js";
import { type Failed, type Nodes, together } from "./nodes.js";
import { type Receiver, Session, type SessionOptions } from "./session.js";

/** Bounds a request that has no timeout of its own. */
export const requestMs = 30_000;
/** A timer of more than that fires at once. */
export const maxTimerMs = 2 ** 31 - 1;
export const minBackoffMs = 50;
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
  /** How long until the client dials again; the browser's online event ends the pause. */
  readonly retryInMs?: number;
}

/** A key of the store, or what returns it. */
export type Token = string | (() => string | PromiseLike<string>);

/** How to connect, but to which node. */
export interface ConnectionOptions extends Omit<SessionOptions, "url" | "token"> {
  /** For the next connection or request. */
  token: Token | undefined;
  /** Of HTTP requests. */
  headers: Readonly<Record<string, string>> | undefined;
}

/** Uses the sessions of a Connection, one at a time. */
export interface ConnectionUser extends Receiver {
  /** There is a session. */
  attach(s: Session): void;
  /** It is gone, and the next is on its way. */
  detach(why: GyreError): void;
  /** There will be no other one. */
  fail(why: GyreError): void;
}

/** Keeps a client connected: to one node at a time, the first that answers of those it knows. */
export class Connection {
  readonly #nodes: Nodes;
  readonly #options: ConnectionOptions;
  readonly #user: ConnectionUser;
  readonly #onState: ((s: ConnectionState) => void) | undefined;
  readonly #closing = new AbortController();
  #session: Session | undefined;
  #down: GyreError | undefined;
  #running: Promise<void> | undefined;
  /** Ends a pause between two tries. */
  #hurry: (() => void) | undefined;

  constructor(nodes: Nodes, options: ConnectionOptions, user: ConnectionUser, onState: ((s: ConnectionState) => void) | undefined) {
    this.#nodes = nodes;
    this.#options = options;
    this.#user = user;
    this.#onState = onState;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  /** Why there is no session. */
  get down(): GyreError | undefined {
    return this.#down;
  }

  get bin(): boolean {
    return !this.#options.json;
  }

  /** Makes the first session, in so many ms. */
  async dial(signal: AbortSignal, ms: number): Promise<Welcome> {
    const s = await this.#connect(this.#nodes.first(), signal, ms);
    this.#attach(s);
    this.#running = this.#run(s);
    return s.welcome;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#hurry?.();
    await this.#session?.goodbye();
    await this.#running;
  }

  /** Ends the use of the session whose node shuts down. The next is on its way. */
  leave(): void {
    const s = this.#session;
    this.#session = undefined;
    this.#down = this.#shutsDown();
    void s?.goodbye(); // it does not reject
  }

  /** Takes addresses that the node has named. */
  learn(nodes: readonly string[] | undefined): void {
    this.#nodes.learn(nodes);
  }

  /** Connects to the first address that answers. Each has its share of the time. */
  async #connect(order: readonly Address[], signal: AbortSignal, ms: number): Promise<Session> {
    const failed: Failed[] = [];
    for (const at of order) {
      try {
        const s = await this.#connectTo(at, signal, order.length === 1 ? requestMs : Math.min(addressMs, Math.ceil(ms / order.length)));
        this.#nodes.at = at;
        return s;
      } catch (err) {
        const error = err as GyreError;
        // The others would know a key no better.
        if (GyreError.is(error, "canceled", "unauthenticated", "forbidden")) throw error;
        failed.push({ at, error });
        if (signal.aborted) break;
      }
    }
    throw together(failed);
  }

  async #connectTo(at: Address, signal: AbortSignal, ms: number): Promise<Session> {
    const trying = within(ms, signal);
    const token = await given(this.#options.token, trying);
    try {
      return await Session.open({ ...this.#options, url: at.ws, token }, this.#user, trying);
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
      const r = await this.#ask(`${at.http}/v1/server`, {}, signal);
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
        this.#user.fail(new GyreError("canceled", "the client was closed"));
        this.#tell({ connected: false });
        return undefined;
      }
      if (!error.retryable) {
        this.#tell({ connected: false, error });
        this.#user.fail(error);
        return undefined;
      }
      const away = old.comeBackInMs;
      const order = this.#nodes.next(away !== undefined);
      const asked = away !== undefined && order.length > 1 ? away / elsewhereSooner : away;
      const retryInMs = attempt === 0 && asked !== undefined ? asked : backoff(attempt);
      this.#tell({ connected: false, error, retryInMs });
      await this.#pause(retryInMs);
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

  #attach(s: Session): void {
    this.#session = s;
    this.#down = undefined;
    this.#nodes.learn(s.welcome.nodes);
    this.#user.attach(s);
  }

  #detach(why: GyreError): void {
    this.#session = undefined;
    this.#down = why;
    this.#user.detach(why);
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

  /** Why a connection is over whose node has asked the client to leave. */
  #shutsDown(): GyreError {
    return new GyreError("unavailable", `${this.#nodes.at.http} shuts down`);
  }

  /** Fetches with the token. */
  async #ask(url: string, { via = fetch, changes: _, ...init }: Fetched, signal: AbortSignal): Promise<Response> {
    const token = await given(this.#options.token, signal);
    const authorization = token && { authorization: `Bearer ${token}` };
    return via(url, { ...init, signal, headers: { ...this.#options.headers, ...(init.headers as object), ...authorization } });
  }

  /** Asks over HTTP, the next node if one cannot answer now; the answer's text. What changes something is sent once. */
  async fetch(path: string, init: Fetched, limits: Limits): Promise<string> {
    const signal = within(Math.min(limits.timeoutMs ?? requestMs, maxTimerMs), this.#closing.signal, limits.signal);
    const { changes = init.method !== undefined } = init;
    const failed: Failed[] = [];
    for (const at of this.#nodes.now()) {
      try {
        const r = await this.#ask(at.http + path, init, signal);
        const text = await r.text();
        if (r.ok) return text;
        const error = problemOf(parsed(text)) ?? new GyreError("unavailable", `${at.http} answered ${r.status}`);
        if (r.status < 500 || !error.retryable || changes) throw error;
        failed.push({ at, error });
      } catch (err) {
        if (err instanceof GyreError) throw err;
        if (changes) throw new GyreError("unknown_outcome", `${at.http} did not answer`, { cause: err });
        if (signal.aborted) throw abortError(signal);
        failed.push({ at, error: new GyreError("unavailable", `${at.http} cannot be reached`, { cause: err }) });
      }
    }
    throw together(failed);
  }
}

/** What to ask over HTTP, and what does it in place of fetch. */
export interface Fetched extends RequestInit {
  via?: typeof fetch | undefined;
  /** Whether it may be sent once only; with a method it does unless this is false. */
  changes?: boolean | undefined;
}

/** A signal that comes with the first of some, and after so many ms. */
export function within(ms: number, ...signals: (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any([AbortSignal.timeout(ms), ...(signals.filter(Boolean) as AbortSignal[])]);
}

/** The text of a token; "" for none. */
export async function given(token: Token | undefined, signal: AbortSignal): Promise<string> {
  let text = token ?? "";
  if (typeof text === "function") {
    try {
      text = await Promise.race([
        text(),
        new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(abortError(signal)))),
      ]);
    } catch (cause) {
      throw cause instanceof GyreError ? cause : new GyreError("unavailable", "there is no token", { cause });
    }
  }
  if (!/^[!-~]*$/.test(text)) throw new GyreError("invalid_config", "the token is malformed");
  return text;
}

/** The limits of a request alone, checked. */
export function limits(o: Limits): Limits {
  const { signal, timeoutMs } = o;
  if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs <= Number.MAX_SAFE_INTEGER)) {
    throw new GyreError("invalid_request", `timeoutMs is ${timeoutMs}, it is more than 0`);
  }
  return { signal, timeoutMs: timeoutMs && Math.ceil(timeoutMs) };
}

/** How long to wait before a try: anything up to twice the last. */
export function backoff(attempt: number): number {
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
