import { type Limits, requestMs } from "./connection.js";
import { GyreError } from "./errors.js";
import { type NamedOptions, pathOf, type Query, type Requests } from "./requests.js";
import type {
  Place,
  PluginBinding,
  PluginDeploy,
  PluginListed,
  PluginLogLine,
  PluginLogs,
  PluginState,
  PluginVersion,
  PluginEntry as RawEntry,
} from "./schemas.js";

/** A key of a binding's state, with its value: JSON, or bytes if it is not. */
export interface PluginEntry {
  readonly lane: number;
  readonly key: string;
  readonly value: unknown;
}

/** Which state to read. */
export interface PluginStateOptions extends NamedOptions {
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

const logWaitMs = 15_000;

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

  /** Verifies and stores a version. The manifest is that of a module that has none in it. */
  upload(
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
    return this.#requests.change("PUT", pathOf`/v1/plugins/${plugin}/versions/${version}`, {}, body, { timeoutMs: 300_000, ...o });
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
  deploy(binding: string, d: PluginDeploy, o: Limits = {}): Promise<PluginBinding> {
    return this.#steer(binding, "deploy", d, o);
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

  /** Goes back to the version before the last deploy. */
  rollback(binding: string, o: Limits = {}): Promise<PluginBinding> {
    return this.#steer(binding, "rollback", undefined, o);
  }

  /**
   * Starts a new generation: fresh state, and the events from a place on. Appends are held back
   * up to where the generation before was, unless emitAgain.
   */
  rebuild(binding: string, o: Limits & { from?: Place | undefined; emitAgain?: boolean | undefined } = {}): Promise<PluginBinding> {
    return this.#steer(binding, "rebuild", { from: o.from, emitAgain: o.emitAgain }, o);
  }

  /** Deletes a binding with its state and its log. */
  async delete(binding: string, o: Limits = {}): Promise<void> {
    await this.#requests.change("DELETE", pathOf`/v1/plugins/${binding}`, {}, undefined, o);
  }

  /** Returns the value of a key of a binding's state: JSON, or bytes if it is not; state_not_found if there is none. */
  async state(binding: string, key: string, o: Limits & { lane?: number | undefined } = {}): Promise<unknown> {
    const page = await this.#entries(binding, { prefix: key, lane: o.lane, limit: 1 }, o);
    const entry = page.entries.find((e) => e.key === key);
    if (entry === undefined) throw new GyreError("state_not_found", `binding ${binding} has no state ${JSON.stringify(key)}`);
    return entryOf(entry).value;
  }

  /** Goes through a binding's state, by key. */
  async *entries(binding: string, o: PluginStateOptions = {}): AsyncGenerator<PluginEntry, void, undefined> {
    for (let after: string | undefined; ; ) {
      const page = await this.#entries(binding, { prefix: o.prefix, lane: o.lane, after, limit: 1000 }, o);
      yield* page.entries.map(entryOf);
      if (page.end) return;
      after = page.next;
    }
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

  #entries(binding: string, query: Query, o: Limits): Promise<PluginState> {
    return this.#requests.get(pathOf`/v1/plugins/${binding}/state`, query, o);
  }

  #steer(binding: string, verb: string, body: unknown, o: Limits): Promise<PluginBinding> {
    return this.#requests.change("POST", `${pathOf`/v1/plugins/${binding}`}/${verb}`, {}, body, o);
  }
}

function entryOf({ lane, key, value, valueBase64 }: RawEntry): PluginEntry {
  if (valueBase64 !== undefined) value = Uint8Array.from(atob(valueBase64), (c) => c.charCodeAt(0));
  return { lane, key, value };
}
