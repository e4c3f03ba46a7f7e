// Real nodes to test against.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { WebSocket as WS } from "ws";
import { type Client, type ConnectOptions, connect } from "../dist/index.js";

/** The gyre to test against; test/run.mjs builds it. */
export const gyre = process.env["GYRE_TEST_BIN"] ?? join(import.meta.dirname, "gyre");

/** How long a test may wait for what has to come. */
export const waitLimit = 20_000;

/** A directory that ends with the test. */
export function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "gyre-js-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Makes a certificate: the file of its CA, and the flags of a node that serves it. */
export function devCert(t: TestContext): { ca: string; flags: string[] } {
  const dir = scratch(t);
  execFileSync(gyre, ["tls", "dev-cert", "--out", dir]);
  return { ca: join(dir, "ca.pem"), flags: ["--tls-cert", join(dir, "cert.pem"), "--tls-key", join(dir, "key.pem")] };
}

/** A node of its own, on a port that it keeps when it is started again. */
export class Node {
  /** As http://host:port, or https://host:port. */
  url = "";
  readonly #engine: string[];
  readonly #flags: string[];
  #listen = "127.0.0.1:0";
  #process: ChildProcess | undefined;

  private constructor(engine: string[], flags: string[]) {
    this.#engine = engine;
    this.#flags = ["--node", "n1", "--log-level", "error", ...flags];
  }

  /** Starts a node that ends with the test; with engine disk it keeps its data while it does not run. */
  static async start(t: TestContext, engine: "memory" | "disk", ...flags: string[]): Promise<Node> {
    const data = mkdtempSync(join(tmpdir(), "gyre-js-"));
    const node = new Node(["--engine", engine, "--data", data], flags);
    t.after(async () => {
      await node.kill();
      rmSync(data, { recursive: true, force: true });
    });
    await node.start();
    return node;
  }

  /** Starts on a database that is not there, for which it waits. */
  async startWithoutDatabase(): Promise<void> {
    this.#spawn("--postgres", "postgres://127.0.0.1:1/none").stderr.resume();
    for (;;) {
      const ready = await fetch(`${this.url}/readyz`).catch(() => undefined);
      if (ready?.status === 503) return;
      await setTimeout(20);
    }
  }

  async start(): Promise<void> {
    const child = this.#spawn(...this.#engine);
    let said = "";
    child.stderr.setEncoding("utf8");
    for await (const text of child.stderr.iterator({ destroyOnReturn: false })) {
      said += text;
      const url = /HTTP\s+(https?:\S+)/.exec(said)?.[1];
      if (url !== undefined) {
        this.url = url;
        this.#listen = new URL(url).host;
        child.stderr.resume();
        return;
      }
    }
    assert.fail(`gyre serve ended: ${said}`);
  }

  #spawn(...engine: string[]) {
    const child = spawn(gyre, ["serve", ...engine, ...this.#flags, "--listen", this.#listen], { stdio: ["ignore", "ignore", "pipe"] });
    this.#process = child;
    return child;
  }

  /** kill -9. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** Lets it finish what is under way. */
  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  async #end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  }

  /** A client of it that ends with the test. */
  async client(t: TestContext, o: ConnectOptions = {}): Promise<Client> {
    const c = await connect(this.url, { WebSocket: WS, timeoutMs: waitLimit, ...o });
    t.after(() => c.close());
    return c;
  }
}
