import { canInflate, deflateRaw, inflate } from "./deflate.js";
import { abortError, broken, type ErrorCode, errorOf, GyreError } from "./errors.js";
import { frames, type ServerFrame } from "./frames.js";
import { decodeMessage, helloText, pingText, type ServerMessage, type Welcome } from "./messages.js";

/** As much of a WebSocket as the client uses. The platform's are, and so is that of package ws. */
export interface WebSocketLike {
  binaryType: string;
  readonly protocol: string;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "open" | "message" | "close" | "error", listener: (event: WebSocketEventLike) => void): void;
}

/** As much of the events of a WebSocket as the client uses. */
export interface WebSocketEventLike {
  readonly type: string;
  /** Of message. */
  readonly data?: unknown;
  /** Of close. */
  readonly code?: number;
  /** Of close. */
  readonly reason?: string;
}

/** What makes a WebSocket. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

export interface SessionOptions {
  url: string;
  WebSocket: WebSocketConstructor;
  name: string;
  version: string;
  json: boolean;
  compress: boolean;
  token: string | undefined;
}

/** Receives what comes. An error that it throws ends the session. */
export interface Receiver {
  message(m: ServerMessage, text: string): void;
  frame(f: ServerFrame): void;
}

/** How long a connection may take to be made, or to be closed. */
const connectMs = 10_000;
const closeMs = 1000;
/** Up to where binary frames are joined into one message. */
const maxJoined = 256 << 10;
/** Bounds what compressed frames of a server may have, in one message. */
const inflateLimit = 16 << 20;

/** One connection, from welcome to its end. */
export class Session {
  readonly bin: boolean;
  /** Set before the session is handed to anyone. */
  welcome!: Welcome;
  /** Settles when the connection is over, with the reason. It never rejects. */
  readonly ended: Promise<GyreError>;
  /** In how many ms the server wants us back; undefined if it did not say. */
  comeBackInMs: number | undefined;

  readonly #socket: WebSocketLike;
  readonly #receiver: Receiver;
  #end!: (why: GyreError) => void;
  #over = false;
  #out: (string | Uint8Array)[] = [];
  /** Messages behind one that is still being decompressed. */
  #backlog: Promise<void> | undefined;
  #heard = Date.now();
  #ticking: ReturnType<typeof setInterval> | undefined;

  private constructor(socket: WebSocketLike, bin: boolean, receiver: Receiver) {
    this.#socket = socket;
    this.#receiver = receiver;
    this.bin = bin;
    this.ended = new Promise((resolve) => {
      this.#end = (why) => {
        this.#over = true;
        clearInterval(this.#ticking);
        resolve(why);
      };
    });
  }

  /** Connects and says hello. */
  static open(o: SessionOptions, receiver: Receiver, signal: AbortSignal): Promise<Session> {
    const protocol = o.json ? "gyre.v1.json" : "gyre.v1.bin";
    const compress = o.compress && !o.json && canInflate() ? [deflateRaw] : [];
    return new Promise((resolve, reject) => {
      if (signal.aborted) throw abortError(signal);
      let socket: WebSocketLike;
      try {
        socket = new o.WebSocket(o.url, [protocol]);
      } catch (cause) {
        reject(new GyreError("invalid_config", `${o.url} cannot be used`, { cause }));
        return;
      }
      socket.binaryType = "arraybuffer";
      const s = new Session(socket, !o.json, receiver);
      const giveUp = (why: GyreError) => {
        s.end(why);
        s.#close();
      };
      const late = setTimeout(() => giveUp(new GyreError("unavailable", `${o.url} did not answer in ${connectMs} ms`)), connectMs);
      const aborted = () => giveUp(abortError(signal));
      signal.addEventListener("abort", aborted);
      s.ended.then(reject).finally(() => {
        clearTimeout(late);
        signal.removeEventListener("abort", aborted);
      });
      s.#listen((welcome) => {
        clearTimeout(late);
        signal.removeEventListener("abort", aborted);
        s.welcome = welcome;
        s.#tick();
        resolve(s);
      });
      socket.addEventListener("open", () => {
        if (socket.protocol !== protocol) giveUp(new GyreError("version_unsupported", `the server does not speak ${protocol}`));
        else s.#socket.send(helloText(o.name, o.version, compress, o.token));
      });
    });
  }

  #listen(welcomed: (w: Welcome) => void): void {
    const socket = this.#socket;
    socket.addEventListener("message", (e) => {
      this.#heard = Date.now();
      if (this.#over) return;
      if (this.welcome !== undefined) this.#take(e.data);
      else this.#guard(() => welcomed(welcomeOf(e.data)));
    });
    socket.addEventListener("close", (e) => this.end(closeError(e.code ?? 1006, e.reason ?? "")));
    // What an error was about is in the close that follows, where one does.
    socket.addEventListener("error", () => {
      setTimeout(() => this.end(new GyreError("unavailable", "the connection broke")), closeMs);
    });
  }

  /** Hands on a message, after those that came before it. */
  #take(data: unknown): void {
    if (this.#backlog === undefined) this.#guard(() => this.#follow(this.#hand(data)));
    else this.#follow(this.#backlog.then(() => this.#hand(data)));
  }

  /** Keeps later messages waiting until this one is handed on. */
  #follow(work: Promise<void> | undefined): void {
    if (work === undefined) return;
    const backlog = work
      .catch((err) => this.#fail(err))
      .then(() => {
        if (this.#backlog === backlog) this.#backlog = undefined;
      });
    this.#backlog = backlog;
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (err) {
      this.#fail(err);
    }
  }

  #fail(err: unknown): void {
    this.end(err instanceof GyreError ? err : new GyreError("internal", "a message was not taken", { cause: err }));
    this.#close();
  }

  /** Hands on the parts of a message; a promise if some have to be decompressed first. */
  #hand(data: unknown): Promise<void> | undefined {
    if (this.#over) return undefined;
    if (typeof data === "string") {
      for (const text of data.split("\n")) {
        const m = text === "" ? undefined : decodeMessage(text);
        if (m !== undefined) this.#message(m, text);
      }
      return undefined;
    }
    const limit = this.welcome.compress === deflateRaw ? inflateLimit : 0;
    return this.#frames(frames(new Uint8Array(data as ArrayBuffer), limit, inflate));
  }

  #frames(rest: Iterator<ServerFrame | Promise<ServerFrame>>): Promise<void> | undefined {
    for (;;) {
      const next = rest.next();
      if (next.done) return undefined;
      if (next.value instanceof Promise) {
        return next.value.then((f) => {
          this.#frame(f);
          return this.#frames(rest);
        });
      }
      this.#frame(next.value);
    }
  }

  /** Hands on a frame. An append whose answer names no owner was written by the session's node. */
  #frame(f: ServerFrame): void {
    if (f.kind !== 1) f.node ??= this.welcome.server.node;
    this.#receiver.frame(f);
  }

  #message(m: ServerMessage, text: string): void {
    switch (m.op) {
      case "ok":
        m.node ??= this.welcome.server.node;
        this.#receiver.message(m, text);
        break;
      case "ping":
        this.send(pingText("pong", m.n));
        break;
      case "goaway":
        this.comeBackInMs = Math.max(m.reconnectInMs, 1);
        this.#receiver.message(m, text);
        break;
      default:
        this.#receiver.message(m, text);
    }
  }

  /** Queues a message. What is queued in one turn of the event loop is joined. */
  send(message: string | Uint8Array): void {
    if (this.#over) return;
    if (this.#out.push(message) === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const out = this.#out;
    this.#out = [];
    if (this.#over) return;
    for (let i = 0; i < out.length; ) {
      const first = out[i++] as string | Uint8Array;
      if (typeof first === "string") {
        this.#socket.send(first);
        continue;
      }
      const run = [first];
      let size = first.length;
      for (let next = out[i]; next instanceof Uint8Array && size + next.length <= maxJoined; next = out[++i]) {
        run.push(next);
        size += next.length;
      }
      this.#socket.send(joined(run, size));
    }
  }

  /** Pings, and ends a connection on which nothing is heard any more. */
  #tick(): void {
    const { intervalMs, timeoutMs } = this.welcome.ping;
    let pings = 0;
    this.#ticking = setInterval(() => {
      if (Date.now() - this.#heard > intervalMs + timeoutMs) {
        this.end(new GyreError("unavailable", "silence"));
        this.#close();
      } else {
        this.send(pingText("ping", ++pings));
      }
    }, intervalMs);
  }

  /** Ends the session for a reason; only the first counts. */
  end(why: GyreError): void {
    this.#end(why);
  }

  /** Says goodbye, and waits for the other side's for a moment. */
  async goodbye(): Promise<void> {
    this.#flush();
    this.#close();
    const late = setTimeout(() => this.end(new GyreError("unavailable", "no answer to close")), closeMs);
    await this.ended;
    clearTimeout(late);
  }

  #close(): void {
    this.#socket.close(1000);
  }
}

function welcomeOf(data: unknown): Welcome {
  const m = typeof data === "string" ? decodeMessage(data) : undefined;
  if (m?.op === "welcome") return m;
  throw m?.op === "error" ? errorOf(m.error) : broken("a wrong answer to hello");
}

function joined(run: Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  if (run.length === 1) return run[0] as Uint8Array<ArrayBuffer>;
  const all = new Uint8Array(size);
  let at = 0;
  for (const b of run) {
    all.set(b, at);
    at += b.length;
  }
  return all;
}

const known: ReadonlySet<ErrorCode> = new Set(["hello_required", "hello_timeout", "protocol_error", "version_unsupported"]);

/** The end of a connection as an error. Those that are not retryable are not worth coming back from. */
export function closeError(code: number, reason: string): GyreError {
  const name = reason.slice(reason.indexOf(" ") + 1);
  if (code >= 4500 && code <= 4999 && known.has(name)) return new GyreError(name, `the server closed the connection: ${code}`);
  const said = code >= 4000 && reason !== "" ? reason : `${code} ${reason}`.trim();
  const final = (code >= 4500 && code <= 4999) || code === 1002 || code === 1007 || code === 1009;
  return new GyreError(final ? "protocol_error" : "unavailable", `the server closed the connection: ${said}`);
}
