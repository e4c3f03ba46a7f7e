import type { Limits } from "./connection.js";
import { pathOf, type Requests } from "./requests.js";
import type { Key, Keys as KeyList, MadeKey, NewKey, Principal } from "./schemas.js";

/** What to ask about: see GET /v1/principal. */
export interface May {
  action?: string | undefined;
  target?: string | undefined;
  /** The name of the subscription to consume. */
  subscription?: string | undefined;
}

/** Keys of a store. */
export class Keys {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Lists the keys, without their secrets. */
  async list(o: Limits = {}): Promise<Key[]> {
    return (await this.#requests.get<KeyList>("/v1/keys", {}, o)).keys;
  }

  /** Makes a key. Its token is in the answer, and nowhere else later. */
  create(key: NewKey, o: Limits = {}): Promise<MadeKey> {
    return this.#requests.change("POST", "/v1/keys", {}, key, o);
  }

  /** Ends a key and what is open for it. */
  async revoke(id: string, o: Limits = {}): Promise<void> {
    await this.#requests.change("DELETE", pathOf`/v1/keys/${id}`, {}, undefined, o);
  }

  /** Returns who the client is, and whether it may do what is asked about. */
  principal(o: Limits & May = {}): Promise<Principal> {
    return this.#requests.get("/v1/principal", { action: o.action, target: o.target, subscription: o.subscription }, o);
  }
}
