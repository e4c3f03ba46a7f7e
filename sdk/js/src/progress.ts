import type { Limits } from "./connection.js";
import { type NamedOptions, pathOf, type Requests } from "./requests.js";
import type { ProgressInfo } from "./schemas.js";

/** The places of a store that its workers keep, by name. */
export class Places {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Goes through places, by name. */
  list(o: NamedOptions = {}): AsyncGenerator<ProgressInfo, void, undefined> {
    return this.#requests.list("/v1/progress", "progress", { prefix: o.prefix }, o);
  }

  /** Deletes a place; not_found if there is none. The next move is one from 0. */
  async delete(name: string, o: Limits = {}): Promise<void> {
    await this.#requests.change("DELETE", pathOf`/v1/progress/${name}`, {}, undefined, o);
  }
}
