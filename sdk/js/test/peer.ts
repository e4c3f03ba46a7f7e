// A WebSocket server that says what a test wants it to.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { WebSocketServer, type WebSocket as WS } from "ws";

/** What a peer receives: a message in JSON, or the bytes of frames. */
export type Received = Record<string, unknown> | Uint8Array;

/** One connection of a client, at the server's end. */
export class PeerConnection {
  readonly socket: WS;
  /** What it began with. */
  hello: Record<string, unknown> = {};
  readonly #heard: Received[] = [];
  #wake: (() => void) | undefined;

  constructor(socket: WS) {
    this.socket = socket;
    socket.on("message", (data: Buffer, binary: boolean) => {
      this.#heard.push(binary ? new Uint8Array(data) : JSON.parse(data.toString()));
      this.#wake?.();
    });
  }

  /** The next thing that the client says. */
  async receive(): Promise<Received> {
    while (this.#heard.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#heard.shift() as Received;
  }

  /** The next message, which is one of that op. */
  async message(op: string): Promise<Record<string, unknown> & { id: number; sub: number }> {
    const m = await this.receive();
    assert.ok(!(m instanceof Uint8Array), `a frame, and not ${op}: ${m}`);
    assert.equal(m["op"], op, JSON.stringify(m));
    return m as Record<string, unknown> & { id: number; sub: number };
  }

  /** The next message, which is a binary one. */
  async frames(): Promise<Uint8Array> {
    const m = await this.receive();
    assert.ok(m instanceof Uint8Array, `not a frame: ${JSON.stringify(m)}`);
    return m;
  }

  /** Leaves frames to be heard next. */
  leave(rest: Uint8Array): void {
    if (rest.length > 0) this.#heard.unshift(rest);
  }

  /** Says a message in JSON, or frames. */
  say(m: object | Uint8Array): void {
    this.socket.send(m instanceof Uint8Array ? m : JSON.stringify(m));
  }
}

/** A server to be told what to say. */
export class Peer {
  readonly url: string;
  readonly #connections: PeerConnection[] = [];
  #wake: (() => void) | undefined;

  private constructor(http: Server, server: WebSocketServer) {
    this.url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    server.on("connection", (socket) => {
      this.#connections.push(new PeerConnection(socket));
      this.#wake?.();
    });
  }

  /** Starts one, which answers requests over HTTP too if it is told how. */
  static async start(t: TestContext, answer?: RequestListener): Promise<Peer> {
    const http = createServer(answer ?? ((_, r) => r.writeHead(426).end())).listen(0, "127.0.0.1");
    const server = new WebSocketServer({
      server: http,
      path: "/v1/ws",
      handleProtocols: (offered) => [...offered][0] as string,
    });
    await once(http, "listening");
    t.after(() => {
      for (const c of server.clients) c.terminate();
      http.close();
      http.closeAllConnections();
    });
    return new Peer(http, server);
  }

  /** The next connection. */
  async accept(): Promise<PeerConnection> {
    while (this.#connections.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#connections.shift() as PeerConnection;
  }

  /** The next connection, after hello and welcome. */
  async greet(welcome: object = {}): Promise<PeerConnection> {
    const c = await this.accept();
    const hello = await c.message("hello");
    c.hello = hello;
    c.say({
      op: "welcome",
      id: hello.id,
      server: { version: "0", node: "n1" },
      session: "s",
      log: "k3f9",
      limits: { frame: 5 << 20, subs: 128, inflight: 256, creditEvents: 4096, creditBytes: 8 << 20 },
      ping: { intervalMs: 25_000, timeoutMs: 10_000 },
      batch: true,
      features: [],
      time: "2026-11-23T10:00:00Z",
      ...welcome,
    });
    return c;
  }
}

/** A recorded event in JSON. */
export function eventObject(position: number, data: unknown = null): object {
  return {
    stream: "s",
    version: position,
    position,
    id: `00000000-0000-7000-8000-${position.toString(16).padStart(12, "0")}`,
    type: "A",
    time: "2026-11-23T10:00:00Z",
    recorded: "2026-11-23T10:00:00Z",
    data,
    metadata: {},
  };
}

/** A recorded event as frames have it. */
export function eventBytes(position: number, data: string): Uint8Array {
  const body = Buffer.concat([
    Buffer.from([position, position]),
    Buffer.alloc(8),
    Buffer.alloc(16, 7),
    Buffer.from("\x01s\x01A\x00\x00", "latin1"),
    Buffer.from(data),
  ]);
  assert.ok(position < 128 && body.length < 128);
  return Buffer.concat([Buffer.from([body.length]), body]);
}
