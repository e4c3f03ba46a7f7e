import { type Limits, limits, requestMs } from "./connection.js";
import { GyreError } from "./errors.js";
import type { Link } from "./link.js";

/** What a plugin is for. A projection is a handler that appends nothing. */
export type PluginKind = "handler" | "projection";

/** What a binding may use. What is absent is the default. */
export interface PluginLimits {
  memoryBytes?: number;
  /** Of a batch, about one per instruction. */
  fuel?: number;
  /** Of a batch. */
  timeMs?: number;
  /** Of starting a handler. */
  initMs?: number;
  batchEvents?: number;
  batchBytes?: number;
  /** Keys and values of all lanes. */
  stateBytes?: number;
}

/** Which events a binding handles. */
export interface PluginInput {
  /** "$all" if absent. */
  stream?: string;
  filter?: { streams?: readonly string[]; types?: readonly string[]; expr?: string };
  /** Which lane an event is of: "stream", "correlation_id", "metadata:NAME" or "expr:EXPRESSION". */
  partitionBy?: string;
  /** Where a new binding begins; the start if absent. */
  from?: unknown;
}

/** What happens to an event whose handler fails. */
export interface PluginErrors {
  attempts?: number;
  /** The first backoff, which doubles. */
  minMs?: number;
  maxMs?: number;
  /** Set the event aside, or stop the binding. */
  then?: "park" | "stop";
}

/** What a binding is to be. What is absent stays as it is; in a new binding it is what the manifest says, but grants are none. */
export interface PluginDeploy {
  /** That of the binding; the binding's name, if it is new. */
  plugin?: string;
  version?: string;
  /** It cannot change later, and nor can lanes. */
  input?: PluginInput;
  lanes?: number;
  /** "append:PATTERN", "state", "streams.read", "http:HOST:PORT", "secret:NAME". */
  grants?: readonly string[];
  config?: object;
  limits?: PluginLimits;
  onError?: PluginErrors;
  allowLoops?: boolean;
}

/** A version of a plugin at work, and how it is doing. */
export interface PluginBinding {
  readonly binding: string;
  readonly plugin: string;
  readonly version: string;
  readonly sha256: string;
  readonly kind: PluginKind;
  readonly generation: number;
  /** The generation that it was created with; lower ones were of deleted bindings of its name. */
  readonly firstGeneration: number;
  readonly subscription: string;
  readonly input: PluginInput;
  readonly lanes: number;
  readonly grants: readonly string[];
  readonly config?: object;
  readonly limits: PluginLimits;
  readonly onError: Required<PluginErrors>;
  readonly allowLoops?: boolean;
  readonly paused?: boolean;
  /** Why it has stopped; resume goes on. */
  readonly stopped?: string;
  /** The position up to which appends are held back after a rebuild. */
  readonly emitAfter?: number;
  readonly created: string;
  readonly deployed: string;
  readonly previous?: string;
  readonly state: "running" | "paused" | "stopped" | "blocked" | "broken" | "starting";
  /** Of stopped, blocked and broken. */
  readonly reason?: string;
  /** The lowest of its lanes'. */
  readonly checkpoint: number;
  /** How many positions it is behind the log. */
  readonly lag: number;
  readonly parked: number;
  readonly stateBytes: number;
  readonly laneStatus?: readonly {
    readonly lane: number;
    readonly checkpoint: number;
    readonly attempts?: number;
    readonly reason?: string;
  }[];
  /** They count since the node runs the binding; seconds are in handlers. */
  readonly totals: {
    readonly batches: number;
    readonly events: number;
    readonly appended: number;
    readonly writes: number;
    readonly failures: number;
    readonly parked: number;
    readonly starts: number;
    readonly fuel: number;
    readonly seconds: number;
  };
}

/** An uploaded version of a plugin. */
export interface PluginVersion {
  readonly plugin: string;
  readonly version: string;
  /** Of the module, in hex. */
  readonly sha256: string;
  readonly bytes: number;
  readonly uploaded: string;
  readonly manifest: { readonly kind: PluginKind; readonly description?: string; readonly capabilities?: readonly string[] };
  readonly report: {
    readonly functions: number;
    readonly imports: readonly string[];
    readonly memoryBytes: number;
    readonly warnings?: readonly string[];
  };
}

/** What has a name: a plugin, a binding, or both. */
export interface PluginListed {
  readonly name: string;
  /** The newest that was uploaded. */
  readonly version?: string;
  readonly kind?: PluginKind;
  readonly description?: string;
  readonly binding?: PluginBinding;
}

/** A key of a binding's state, with its value: JSON, or bytes if it is not. */
export interface PluginEntry {
  readonly lane: number;
  readonly key: string;
  readonly value: unknown;
}

/** A line that a binding has logged. */
export interface PluginLogLine {
  readonly seq: number;
  readonly time: string;
  readonly level: "debug" | "info" | "warn" | "error";
  readonly lane: number;
  readonly generation: number;
  readonly version: string;
  /** Of the event that it is about. */
  readonly position?: number;
  readonly text: string;
}

/** Which part of a list to go through. */
export interface PluginListOptions extends Limits {
  /** Only names, or keys, that begin with it. */
  prefix?: string | undefined;
}

/** Which state to read. */
export interface PluginStateOptions extends PluginListOptions {
  /** It is needed where there is more than one. */
  lane?: number | undefined;
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

/** An entry as the server sends it. */
interface RawEntry {
  lane: number;
  key: string;
  value?: unknown;
  valueBase64?: string;
}

const logWaitMs = 15_000;

/**
 * Plugins of the node, as {@link Client.plugins}. A change that was sent and not answered is
 * unknown_outcome. A node without plugins answers unknown_op.
 */
export class Plugins {
  readonly #link: Link;

  /** @internal */
  constructor(link: Link) {
    this.#link = link;
  }

  /** Goes through plugins and bindings, by name. */
  list(o: PluginListOptions = {}): AsyncGenerator<PluginListed, void, undefined> {
    return this.#pages("plugin.list", { prefix: o.prefix || undefined }, "plugins", o);
  }

  /** Verifies and stores a version. The manifest is that of a module that has none in it. */
  async upload(
    plugin: string,
    version: string,
    module: Uint8Array<ArrayBuffer>,
    o: Limits & { manifest?: object | undefined } = {},
  ): Promise<PluginVersion> {
    let body: Blob | FormData = new Blob([module], { type: "application/wasm" });
    if (o.manifest !== undefined) {
      const parts = new FormData();
      parts.append("manifest", new Blob([JSON.stringify(o.manifest)], { type: "application/json" }));
      parts.append("module", body);
      body = parts;
    }
    const path = `/v1/plugins/${encodeURIComponent(plugin)}/versions/${encodeURIComponent(version)}`;
    return JSON.parse(await this.#link.fetch(path, { method: "PUT", body }, limits({ timeoutMs: 300_000, ...o })));
  }

  /** Goes through the versions of a plugin. */
  versions(plugin: string, o: PluginListOptions = {}): AsyncGenerator<PluginVersion, void, undefined> {
    return this.#pages("plugin.versions", { plugin, prefix: o.prefix || undefined }, "versions", o);
  }

  /** Deletes a version; plugin_in_use if a binding runs it, or can be rolled back to it. */
  async deleteVersion(plugin: string, version: string, o: Limits = {}): Promise<void> {
    await this.#change("plugin.deleteVersion", { plugin, version }, o);
  }

  /** Creates a binding, or changes one. An error has changed nothing. */
  deploy(binding: string, d: PluginDeploy, o: Limits = {}): Promise<PluginBinding> {
    return this.#change("plugin.deploy", { ...d, binding }, o);
  }

  /** Returns how a binding is, or binding_not_found. */
  info(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#ask("plugin.info", { binding }, o);
  }

  /** Stops a binding after the batch that it is handling, until resume. */
  pause(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#change("plugin.pause", { binding }, o);
  }

  /** Ends a pause, or a stop. */
  resume(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#change("plugin.resume", { binding }, o);
  }

  /** Goes back to the version before the last deploy. */
  rollback(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#change("plugin.rollback", { binding }, o);
  }

  /**
   * Starts a new generation: fresh state, and the events from a place on. Appends are held back
   * up to where the generation before was, unless emitAgain.
   */
  rebuild(binding: string, o: Limits & { from?: unknown; emitAgain?: boolean | undefined } = {}): Promise<PluginBinding> {
    return this.#change("plugin.rebuild", { binding, from: o.from, emitAgain: o.emitAgain }, o);
  }

  /** Deletes a binding with its state and its log. */
  async delete(binding: string, o: Limits = {}): Promise<void> {
    await this.#change("plugin.delete", { binding }, o);
  }

  /** Returns the value of a key of a binding's state: JSON, or bytes if it is not; state_not_found if there is none. */
  async state(binding: string, key: string, o: Limits & { lane?: number | undefined } = {}): Promise<unknown> {
    return entryOf(await this.#ask<RawEntry>("plugin.state", { binding, key, lane: o.lane }, o)).value;
  }

  /** Goes through a binding's state, by key. */
  async *entries(binding: string, o: PluginStateOptions = {}): AsyncGenerator<PluginEntry, void, undefined> {
    for (let after: string | undefined; ; ) {
      const fields = { binding, prefix: o.prefix, lane: o.lane, after, limit: 1000 };
      const page = await this.#ask<{ entries: RawEntry[]; next?: string; end: boolean }>("plugin.state", fields, o);
      yield* page.entries.map(entryOf);
      if (page.end) return;
      after = page.next;
    }
  }

  /** Goes through what a binding has logged, and with follow on to what it logs. */
  async *logs(binding: string, o: PluginLogOptions = {}): AsyncGenerator<PluginLogLine, void, undefined> {
    const query = new URLSearchParams();
    if (o.after !== undefined) query.set("after", String(o.after));
    if (o.last !== undefined) query.set("last", String(o.last));
    for (;;) {
      const path = `/v1/plugins/${encodeURIComponent(binding)}/logs?${query}`;
      const page = JSON.parse(await this.#link.fetch(path, {}, { signal: o.signal, timeoutMs: requestMs + logWaitMs }));
      yield* page.lines as PluginLogLine[];
      if (page.end && !o.follow) return;
      query.delete("last");
      query.set("after", String(page.next));
      if (o.follow) query.set("waitMs", String(logWaitMs));
    }
  }

  async *#pages<T>(op: string, fields: object, list: string, o: Limits): AsyncGenerator<T, void, undefined> {
    for (let cursor: string | undefined; ; ) {
      const page = await this.#ask<Record<string, unknown> & { cursor?: string; end: boolean }>(op, { ...fields, cursor }, o);
      yield* page[list] as T[];
      if (page.end) return;
      cursor = page.cursor;
    }
  }

  async #ask<T>(op: string, fields: object, o: Limits, once = false): Promise<T> {
    const l = limits(o);
    const { ok } = await this.#link.request({ ...l, once, encode: (id) => JSON.stringify({ ...fields, op, id, timeoutMs: l.timeoutMs }) });
    const { op: _, id: __, warnings: ___, ...answer } = (ok ?? {}) as Record<string, unknown>;
    return answer as T;
  }

  /** Asks for what must not be asked for twice. */
  async #change<T>(op: string, fields: object, o: Limits): Promise<T> {
    try {
      return await this.#ask(op, fields, o, true);
    } catch (cause) {
      if (!GyreError.is(cause, "unavailable")) throw cause;
      throw new GyreError("unknown_outcome", `${op} was not answered`, { cause });
    }
  }
}

function entryOf({ lane, key, value, valueBase64 }: RawEntry): PluginEntry {
  if (valueBase64 !== undefined) value = Uint8Array.from(atob(valueBase64), (c) => c.charCodeAt(0));
  return { lane, key, value };
}
