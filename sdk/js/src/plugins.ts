import { type Limits, requestMs } from "./connection.js";
import { abortError, type ErrorObject, errorOf, GyreError } from "./errors.js";
import {
  type Exact,
  exactOf,
  type PluginBinding,
  type PluginDeploy,
  type PluginDryRunMessage,
  type PluginDryRunResult,
  type PluginListed,
  type PluginPoisonEvent,
  type PluginPoisonTrial,
  type PluginShadowReport,
  type PluginState,
  type PluginVersion,
} from "./exact.js";
import { type NamedOptions, pathOf, type Query, type Requests } from "./requests.js";
import type {
  PluginAbi,
  PluginDryRun,
  PluginDryRunProgress,
  PluginLogLine,
  PluginLogs,
  PluginPoison,
  PluginPoisonPage,
  PluginPoisonRetry,
  PluginRebuild,
  PluginEntry as RawEntry,
  PluginWatchMessage as RawWatchMessage,
} from "./schemas.js";
import { fromBase64 } from "./text.js";

/** A key of a binding's state, with its value: JSON, or bytes if it is not. */
export interface PluginEntry {
  readonly lane: number;
  readonly key: string;
  readonly value: unknown;
  /** The value as JSON, with its numbers as they were written; absent if it is bytes. */
  readonly valueText?: string;
  /** There is no such key any more, where one watches. */
  readonly deleted?: boolean;
}

/** What to watch of a binding's state. */
export interface PluginWatchOptions {
  /** Only this lane; all by default. */
  lane?: number | undefined;
  /** Only keys that begin with it. */
  prefix?: string | undefined;
  /** That of the last message, to go on behind it. */
  cursor?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** A message of a watch. Whoever applies the entries in order has the state. */
export interface PluginWatchMessage extends Omit<RawWatchMessage, "entries"> {
  readonly entries: readonly PluginEntry[];
}

/** Which state to read of. */
export interface PluginReadOptions extends Limits {
  /** It is needed where there is more than one. */
  lane?: number | undefined;
  /** Wait until everything up to this position is handled or parked; timeout if it is not in time. */
  atLeast?: number | undefined;
}

/** What a plugin answers to a query: JSON, or bytes if it is not. */
export interface PluginAnswer {
  readonly value: unknown;
  /** The value as JSON, with its numbers as they were written; absent if it is bytes. */
  readonly valueText?: string;
  /** Everything up to here is in the state that it is made from. */
  readonly position: number;
}

/** Which state to read. */
export interface PluginStateOptions extends NamedOptions, PluginReadOptions {
  /** Only keys behind it. */
  after?: string | undefined;
  /** How many keys to ask for at a time; 1000 by default. */
  page?: number | undefined;
}

/** How to upload a version. */
export interface PluginUploadOptions extends Limits {
  /** That of a module that has none in it. */
  manifest?: object | undefined;
  /** Is called as the module is sent, with how much of it was, from 0 to 1. Node does not call it. */
  onProgress?: ((part: number) => void) | undefined;
}

/** Which lines to read. */
export interface PluginLogOptions {
  /** Only lines whose seq is above it. */
  after?: number | undefined;
  /** Begin with so many of the newest instead. */
  last?: number | undefined;
  /** Go on with what comes, until the loop is left or the signal aborts. */
  follow?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** How to follow a dry run. */
export interface PluginDryRunOptions extends Limits {
  /** Is called every now and then. */
  onProgress?: ((progress: PluginDryRunProgress) => void) | undefined;
}

const logWaitMs = 15_000;

// A node says every 5 seconds that it is there.
const watchIdleMs = 20_000;
const leastPauseMs = 50;
const mostPauseMs = 5_000;

// A dry run ends by itself after 10 minutes.
const dryRunMs = 11 * 60_000;

/** Plugins of a store. */
export class Plugins {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Goes through plugins and bindings, by name. */
  list(o: NamedOptions = {}): AsyncGenerator<PluginListed, void, undefined> {
    return this.#requests.list("/v1/plugins", "plugins", { prefix: o.prefix }, o);
  }

  /** Returns what modules the node runs, and the most that a binding may ask for. */
  abi(o: Limits = {}): Promise<PluginAbi> {
    return this.#requests.get("/v1/plugins/abi", {}, o);
  }

  /** Verifies and stores a version. */
  upload(plugin: string, version: string, module: Uint8Array<ArrayBuffer>, o: PluginUploadOptions = {}): Promise<PluginVersion> {
    let body: Blob | FormData = new Blob([module], { type: "application/wasm" });
    if (o.manifest !== undefined) {
      const parts = new FormData();
      parts.append("manifest", new Blob([JSON.stringify(o.manifest)], { type: "application/json" }));
      parts.append("module", body);
      body = parts;
    }
    const path = pathOf`/v1/plugins/${plugin}/versions/${version}`;
    return this.#requests.change("PUT", path, {}, body, { timeoutMs: 300_000, ...o }, watched(o.onProgress));
  }

  /** Goes through the versions of a plugin. */
  versions(plugin: string, o: NamedOptions = {}): AsyncGenerator<PluginVersion, void, undefined> {
    return this.#requests.list(pathOf`/v1/plugins/${plugin}/versions`, "versions", { prefix: o.prefix }, o);
  }

  /** Deletes a version; plugin_in_use if a binding runs it, or can be rolled back to it. */
  async deleteVersion(plugin: string, version: string, o: Limits = {}): Promise<void> {
    await this.#requests.change("DELETE", pathOf`/v1/plugins/${plugin}/versions/${version}`, {}, undefined, o);
  }

  /** Creates a binding, or changes one. An error has changed nothing. */
  deploy(binding: string, { configText, ...d }: PluginDeploy, o: Limits = {}): Promise<PluginBinding> {
    if (configText === undefined) return this.#steer(binding, "deploy", d, o);
    const text = JSON.stringify({ ...d, config: 0 }).replace('"config":0', () => `"config":${configText}`);
    return this.#steer(binding, "deploy", new Blob([text], { type: "application/json" }), o);
  }

  /** Returns how a binding is, or binding_not_found. */
  info(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#requests.get(pathOf`/v1/plugins/${binding}`, {}, o);
  }

  /** Stops a binding after the batch that it is handling, until resume. */
  pause(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#steer(binding, "pause", undefined, o);
  }

  /** Ends a pause, or a stop. */
  resume(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#steer(binding, "resume", undefined, o);
  }

  /**
   * Undoes the last change: goes back to the version before, or to the generation before, as rollback
   * of info says. With to it does that or fails.
   */
  rollback(binding: string, o: Limits & { to?: "version" | "generation" | undefined } = {}): Promise<PluginBinding> {
    return this.#steer(binding, "rollback", { to: o.to }, o);
  }

  /**
   * Makes a new generation beside the live one, which goes on: fresh state, and the events from a
   * place on. It is switched to when it has caught up, unless hold; beside of info says how far it
   * is. Appends are held back up to where the live one is, unless emitAgain.
   */
  rebuild(binding: string, o: Limits & PluginRebuild = {}): Promise<PluginBinding> {
    return this.#steer(binding, "rebuild", { from: o.from, version: o.version, emitAgain: o.emitAgain, hold: o.hold }, o);
  }

  /** Makes the generation that a rebuild makes the live one, or fails with no_rebuild or rebuild_behind. */
  switch(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#steer(binding, "switch", undefined, o);
  }

  /** Drops the generation that a rebuild makes. */
  cancelRebuild(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#requests.change("DELETE", pathOf`/v1/plugins/${binding}/rebuild`, {}, undefined, o);
  }

  /** Drops the generation that was live before the last switch. */
  dropBefore(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#requests.change("DELETE", pathOf`/v1/plugins/${binding}/before`, {}, undefined, o);
  }

  /** Deletes a binding with its state and its log. */
  async delete(binding: string, o: Limits = {}): Promise<void> {
    await this.#requests.change("DELETE", pathOf`/v1/plugins/${binding}`, {}, undefined, o);
  }

  /** Returns the value of a key of a binding's state: JSON, or bytes if it is not; state_not_found if there is none. */
  async state(binding: string, key: string, o: PluginReadOptions = {}): Promise<unknown> {
    const { entries } = await this.#entries(binding, { prefix: key, lane: o.lane, atLeast: o.atLeast, limit: 1 }, o);
    const entry = entries.find((e) => e.key === key);
    if (entry === undefined) throw new GyreError("state_not_found", `binding ${binding} has no state ${JSON.stringify(key)}`);
    return entry.value;
  }

  /** Goes through a binding's state, by key. */
  async *entries(binding: string, o: PluginStateOptions = {}): AsyncGenerator<PluginEntry, void, undefined> {
    for (let { after } = o; ; ) {
      const page = await this.#entries(binding, { prefix: o.prefix, lane: o.lane, atLeast: o.atLeast, after, limit: o.page ?? 1000 }, o);
      yield* page.entries;
      if (page.next === undefined) return;
      after = page.next;
    }
  }

  /**
   * Has a plugin answer a query from its state: a text, or what is sent as JSON. What it means, and
   * what the answer is, the plugin says; no_query if it answers none.
   */
  async query(binding: string, query: unknown = "", o: PluginReadOptions = {}): Promise<PluginAnswer> {
    let bytes = new Uint8Array();
    let position = 0;
    const via: typeof fetch = async (url, init) => {
      const answer = await fetch(url, init);
      if (!answer.ok) return answer;
      position = Number(answer.headers.get("gyre-position"));
      bytes = new Uint8Array(await answer.arrayBuffer());
      return new Response("", { status: answer.status });
    };
    const path = pathOf`/v1/plugins/${binding}/query`;
    await this.#requests.askText(
      path,
      { lane: o.lane, atLeast: o.atLeast },
      typeof query === "string" ? query : JSON.stringify(query),
      o,
      via,
    );
    try {
      const valueText = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      return { value: JSON.parse(valueText), valueText, position };
    } catch {
      return { value: bytes, position };
    }
  }

  /**
   * Watches a binding's state: first what there is, up to the message live, and then what changes. A
   * connection that is lost comes back, and goes on where it was if the node still knows what came
   * since; else the state comes again, from a message with reset on. It ends with an error that does
   * not pass, or when the signal aborts.
   */
  async *watch(binding: string, o: PluginWatchOptions = {}): AsyncGenerator<PluginWatchMessage, void, undefined> {
    let { cursor } = o;
    for (let pauseMs = leastPauseMs; ; pauseMs = Math.min(2 * pauseMs, mostPauseMs)) {
      const connection = new AbortController();
      const alive = new Countdown(watchIdleMs, () => connection.abort());
      try {
        for await (const line of this.#watchLines(binding, { ...o, cursor }, connection.signal)) {
          alive.restart();
          if (line === "") continue;
          const m = watchMessageOf(line);
          if (m.reset) cursor = undefined; // until the state is whole
          cursor = m.cursor ?? cursor;
          pauseMs = leastPauseMs;
          yield m;
        }
      } catch (err) {
        if (o.signal?.aborted) throw abortError(o.signal);
        const passes = connection.signal.aborted || !(err instanceof GyreError) || err.retryable;
        if (!passes) throw err;
      } finally {
        alive.stop();
        connection.abort();
      }
      await paused(pauseMs * (1 + Math.random()), o.signal);
    }
  }

  /** The lines of a watch over one connection. */
  async *#watchLines(binding: string, o: PluginWatchOptions, connection: AbortSignal): AsyncGenerator<string, void, undefined> {
    let body: ReadableStream<Uint8Array> | null = null;
    const via: typeof fetch = async (url, init) => {
      const answer = await fetch(url, init);
      if (!answer.ok) return answer;
      body = answer.body;
      return new Response("", { status: answer.status });
    };
    const query = { watch: true, lane: o.lane, prefix: o.prefix || undefined, cursor: o.cursor };
    const signal = o.signal === undefined ? connection : AbortSignal.any([connection, o.signal]);
    await this.#requests.open(pathOf`/v1/plugins/${binding}/state`, query, "application/x-ndjson", signal, via);
    if (body !== null) yield* linesOf(body);
  }

  /** Goes through what a binding has logged, and with follow on to what it logs. */
  async *logs(binding: string, o: PluginLogOptions = {}): AsyncGenerator<PluginLogLine, void, undefined> {
    let { after, last } = o;
    for (let waitMs: number | undefined; ; waitMs = logWaitMs) {
      const query = { after, last, waitMs };
      const page = await this.#requests.get<PluginLogs>(pathOf`/v1/plugins/${binding}/logs`, query, {
        signal: o.signal,
        timeoutMs: requestMs + logWaitMs,
      });
      yield* page.lines;
      if (page.end && !o.follow) return;
      last = undefined;
      after = page.next;
    }
  }

  /**
   * Has a version handle stored events as the binding would, or two versions, and writes nothing. It
   * ends when the signal aborts.
   */
  async dryRun(binding: string, d: PluginDryRun = {}, o: PluginDryRunOptions = {}): Promise<PluginDryRunResult> {
    const via = byLine((line) => {
      const { progress } = JSON.parse(line) as PluginDryRunMessage;
      if (progress !== undefined) o.onProgress?.(progress);
    });
    const path = pathOf`/v1/plugins/${binding}/dry-run`;
    const m = await this.#requests.ask<PluginDryRunMessage>(path, d, { timeoutMs: dryRunMs, ...o }, via);
    if (m.error !== undefined) throw errorOf(m.error as ErrorObject);
    if (m.result === undefined) throw new GyreError("unavailable", "the answer broke off");
    return m.result;
  }

  /** Goes through the events that a binding has parked, by position. */
  async *poison(binding: string, o: Limits & { after?: number | undefined } = {}): AsyncGenerator<PluginPoison, void, undefined> {
    for (let { after } = o; ; ) {
      const page = await this.#requests.get<PluginPoisonPage>(pathOf`/v1/plugins/${binding}/poison`, { after, limit: 1000 }, o);
      yield* page.poison;
      if (page.next === undefined) return;
      after = page.next;
    }
  }

  /** Returns all that is known of a parked event, or fails with event_not_parked. */
  showPoison(binding: string, position: number, o: Limits = {}): Promise<PluginPoisonEvent> {
    return this.#requests.get(pathOf`/v1/plugins/${binding}/poison/${String(position)}`, {}, o);
  }

  /** Has a version handle a parked event alone, on the state as it is, and writes nothing. */
  runPoison(binding: string, position: number, o: Limits & { version?: string | undefined } = {}): Promise<PluginPoisonTrial> {
    const path = pathOf`/v1/plugins/${binding}/poison/${String(position)}/run`;
    return this.#requests.ask(path, { version: o.version }, o);
  }

  /** Gives a parked event back, and waits for what comes of it, up to shortly before the time is over. */
  retryPoison(binding: string, position: number, o: Limits = {}): Promise<PluginPoisonRetry> {
    return this.#requests.change("POST", pathOf`/v1/plugins/${binding}/poison/${String(position)}/retry`, {}, undefined, o);
  }

  /** Forgets a parked event, which stays in the log. */
  async dropPoison(binding: string, position: number, o: Limits = {}): Promise<void> {
    await this.#requests.change("DELETE", pathOf`/v1/plugins/${binding}/poison/${String(position)}`, {}, undefined, o);
  }

  /** Has a version run in the shadow of the binding's; nothing of what it does is written. */
  shadow(binding: string, version: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#steer(binding, "shadow", { version }, o);
  }

  /** Ends the shadow of a binding; shadow_not_found if it has none. */
  endShadow(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#requests.change("DELETE", pathOf`/v1/plugins/${binding}/shadow`, {}, undefined, o);
  }

  /** Returns how the shadow of a binding is doing, and the last of what it did otherwise. */
  differences(binding: string, o: Limits & { before?: number | undefined; limit?: number | undefined } = {}): Promise<PluginShadowReport> {
    return this.#requests.get(pathOf`/v1/plugins/${binding}/shadow`, { before: o.before, limit: o.limit }, o);
  }

  async #entries(binding: string, query: Query, o: Limits): Promise<{ entries: PluginEntry[]; next?: string }> {
    const page = await this.#requests.get<PluginState>(pathOf`/v1/plugins/${binding}/state`, query, o);
    return { ...page, entries: page.entries.map(entryOf) };
  }

  #steer(binding: string, verb: string, body: unknown, o: Limits): Promise<PluginBinding> {
    return this.#requests.change("POST", `${pathOf`/v1/plugins/${binding}`}/${verb}`, {}, body, o);
  }
}

function entryOf({ lane, key, value, valueText, valueBase64, deleted }: Exact<RawEntry>): PluginEntry {
  if (deleted) return { lane, key, value: undefined, deleted };
  if (valueBase64 !== undefined) return { lane, key, value: fromBase64(valueBase64) };
  return { lane, key, value, valueText: valueText as string };
}

function watchMessageOf(line: string): PluginWatchMessage {
  const m = exactOf(line) as Exact<RawWatchMessage> & { error?: ErrorObject };
  if (m.error !== undefined) throw errorOf(m.error);
  return { ...m, entries: (m.entries ?? []).map(entryOf) };
}

/** The lines of a body, as they come. */
async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() as string;
    yield* lines;
  }
}

/** Does something when so many ms have passed since it was started last. */
class Countdown {
  #timer: ReturnType<typeof setTimeout>;

  constructor(
    private readonly ms: number,
    private readonly end: () => void,
  ) {
    this.#timer = setTimeout(end, ms);
  }

  restart() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.end, this.ms);
  }

  stop() {
    clearTimeout(this.#timer);
  }
}

/** Waits, or throws when the signal aborts. */
function paused(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(abortError(signal as AbortSignal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Does what fetch does, and reports each line of an answer as it comes. Of these the last is the text of the answer. */
function byLine(online: (line: string) => void): typeof fetch {
  return async (url, init) => {
    const answer = await fetch(url, init);
    if (!answer.ok || answer.body === null) return answer;
    const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let last = "";
    for (let rest = ""; ; ) {
      const { value, done } = await pieces.read();
      if (done) return new Response(last, { status: answer.status });
      const lines = (rest + value).split("\n");
      rest = lines.pop() as string;
      for (const line of lines) online(line);
      last = lines.at(-1) ?? last;
    }
  };
}

/** Does what fetch does, and reports how much of the body was sent, which fetch cannot; undefined if there is nothing to report. */
function watched(onProgress: ((part: number) => void) | undefined): typeof fetch | undefined {
  if (onProgress === undefined || typeof XMLHttpRequest === "undefined") return undefined;
  return (url, { method, body, headers, signal } = {}) =>
    new Promise((resolve, reject) => {
      const x = new XMLHttpRequest();
      x.open(method as string, url as string);
      for (const [name, value] of Object.entries(headers as object)) x.setRequestHeader(name, value);
      x.upload.onprogress = (e) => onProgress(e.loaded / e.total);
      x.onload = () => resolve(new Response(x.responseText, { status: x.status }));
      x.onerror = () => reject(new TypeError("the request failed"));
      x.onabort = () => reject(signal?.reason);
      signal?.addEventListener("abort", () => x.abort());
      x.send(body as XMLHttpRequestBodyInit);
    });
}
