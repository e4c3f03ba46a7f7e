import type { Limits } from "./connection.js";
import type { Requests } from "./requests.js";
import type { Owned, OwnedPage, RingMembers, RingStatus, RingView, RingViews, Whereabouts } from "./schemas.js";

/** Which names of a node to list. */
export interface OwnedOptions extends Limits {
  /** The node that owns them; the one that is asked, if absent. */
  node?: string | undefined;
  kind?: "stream" | "subscription" | undefined;
  prefix?: string | undefined;
}

/** What has an owner. */
export type Whose = { stream: string } | { subscription: string };

/** The ring that a store is served by; not_supported where there is none. */
export class Cluster {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Returns the ring as a node sees it; the one that is asked, if node is absent. */
  status(o: Limits & { node?: string | undefined } = {}): Promise<RingStatus> {
    return this.#requests.get("/v1/cluster/status", { node: o.node }, o);
  }

  /** Returns what a node knows of the others. */
  members(o: Limits & { node?: string | undefined } = {}): Promise<RingMembers> {
    return this.#requests.get("/v1/cluster/members", { node: o.node }, o);
  }

  /** Returns the newest views before an epoch, newest first. */
  async views(o: Limits & { before?: number | undefined; limit?: number | undefined } = {}): Promise<RingView[]> {
    return (await this.#requests.get<RingViews>("/v1/cluster/views", { before: o.before, limit: o.limit }, o)).views;
  }

  /** Returns who owns a stream, or a subscription. */
  whereis(what: Whose, o: Limits = {}): Promise<Whereabouts> {
    return this.#requests.get("/v1/cluster/whereis", what, o);
  }

  /** Goes through what a node has open and owns. */
  async *owned(o: OwnedOptions = {}): AsyncGenerator<Owned, void, undefined> {
    for (let cursor: string | undefined; ; ) {
      const page = await this.ownedPage({ ...o, cursor });
      yield* page.owned;
      if (page.cursor === undefined) return;
      cursor = page.cursor;
    }
  }

  /** Returns a page of what a node has open and owns, and how much that is in all. */
  ownedPage(o: OwnedOptions & { cursor?: string | undefined; limit?: number | undefined } = {}): Promise<OwnedPage> {
    const { node, kind, prefix, cursor, limit } = o;
    return this.#requests.get("/v1/cluster/owned", { node, kind, prefix, cursor, limit }, o);
  }

  /** Has a node give what it owns to the others. */
  async drain(node: string, o: Limits = {}): Promise<void> {
    await this.#requests.change("POST", "/v1/cluster/drain", { node }, undefined, o);
  }

  /** Has a drained node own its share again. */
  async undrain(node: string, o: Limits = {}): Promise<void> {
    await this.#requests.change("POST", "/v1/cluster/undrain", { node }, undefined, o);
  }
}
