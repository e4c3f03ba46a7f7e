import type { StreamInfo } from "./client.js";
import type { Limits } from "./connection.js";
import type { Requests } from "./requests.js";
import type { Categories, Scavenge, ScavengeRequest, Server, Settings, Stats, Types } from "./schemas.js";

/** Which counts to list. */
export interface CountOptions extends Limits {
  /** Only names that begin with it. */
  prefix?: string | undefined;
  /** The most first, or by name. */
  sort?: "events" | "name" | undefined;
  limit?: number | undefined;
  cursor?: string | undefined;
}

/** A node, and what its log has. */
export class Node {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Returns what the node is: its version, its log, its features and limits. */
  server(o: Limits = {}): Promise<Server> {
    return this.#requests.get("/v1/server", {}, o);
  }

  /** Returns the counters of a node; those of the one that is asked, if node is absent. */
  stats(o: Limits & { node?: string | undefined } = {}): Promise<Stats> {
    return this.#requests.get("/v1/stats", { node: o.node }, o);
  }

  /** Returns the settings of a node that are in effect, and where each comes from. */
  config(o: Limits & { node?: string | undefined } = {}): Promise<Settings> {
    return this.#requests.get("/v1/config", { node: o.node }, o);
  }

  /** Lists event types, with how many events have them. */
  types(o: CountOptions = {}): Promise<Types> {
    return this.#requests.get("/v1/types", countQuery(o), o);
  }

  /** Describes a stream. One that cannot be read is refused as a read of it is. */
  stream(name: string, o: Limits = {}): Promise<StreamInfo> {
    return this.#requests.get(`/v1/streams/${encodeURIComponent(name)}`, {}, o);
  }

  /** Lists categories, the names of streams up to their first "-", with their streams and events. */
  categories(o: CountOptions = {}): Promise<Categories> {
    return this.#requests.get("/v1/categories", countQuery(o), o);
  }

  /** Returns how far the latest scavenge of the store is, or what it did. */
  scavenge(o: Limits = {}): Promise<Scavenge> {
    return this.#requests.get("/v1/scavenge", {}, o);
  }

  /**
   * Starts a scavenge in the background of a node, or has the last one go on that was ended before
   * its end. Rejects with scavenge_running if one runs.
   */
  startScavenge(what: ScavengeRequest = {}, o: Limits = {}): Promise<Scavenge> {
    return this.#requests.change("POST", "/v1/scavenge", {}, what, o);
  }

  /** Asks the scavenge that runs to end. */
  stopScavenge(o: Limits = {}): Promise<Scavenge> {
    return this.#requests.change("DELETE", "/v1/scavenge", {}, undefined, o);
  }
}

function countQuery({ prefix, sort, limit, cursor }: CountOptions) {
  return { prefix, sort, limit, cursor };
}
