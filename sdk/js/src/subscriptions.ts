import type { Limits } from "./connection.js";
import { type NamedOptions, pathOf, type Requests } from "./requests.js";
import type { Counted, Definition, Parked, ParkedPage, Place, Selection, Subscription } from "./schemas.js";

/** Which subscriptions to list. */
export interface SubscriptionListOptions extends NamedOptions {
  /** Those that end with their connection, too. */
  transient?: boolean | undefined;
}

/** Named subscriptions of a store. */
export class Subscriptions {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Goes through subscriptions, by name. */
  list(o: SubscriptionListOptions = {}): AsyncGenerator<Subscription, void, undefined> {
    return this.#requests.list("/v1/subscriptions", "subscriptions", { prefix: o.prefix, transient: o.transient }, o);
  }

  /** Returns how a subscription is, or subscription_not_found. */
  info(name: string, o: Limits = {}): Promise<Subscription> {
    return this.#requests.get(pathOf`/v1/subscriptions/${name}`, {}, o);
  }

  /** Creates a subscription, or gives it another definition; with create it has to be new. */
  put(name: string, definition: Definition, o: Limits & { create?: boolean | undefined } = {}): Promise<Subscription> {
    return this.#requests.change("PUT", pathOf`/v1/subscriptions/${name}`, { create: o.create }, definition, o);
  }

  /** Stops deliveries, until resume. */
  pause(name: string, o: Limits = {}): Promise<Subscription> {
    return this.#requests.change("POST", pathOf`/v1/subscriptions/${name}/pause`, {}, undefined, o);
  }

  /** Ends a pause, or a stop. */
  resume(name: string, o: Limits = {}): Promise<Subscription> {
    return this.#requests.change("POST", pathOf`/v1/subscriptions/${name}/resume`, {}, undefined, o);
  }

  /** Goes on at another place. What is parked stays. */
  reset(name: string, to: Place, o: Limits = {}): Promise<Subscription> {
    return this.#requests.change("POST", pathOf`/v1/subscriptions/${name}/reset`, {}, { to }, o);
  }

  /** Deletes a subscription with what is parked. */
  async delete(name: string, o: Limits = {}): Promise<void> {
    await this.#requests.change("DELETE", pathOf`/v1/subscriptions/${name}`, {}, undefined, o);
  }

  /** Goes through parked events, by position. */
  async *parked(name: string, o: Limits = {}): AsyncGenerator<Parked, void, undefined> {
    for (let after: number | undefined; ; ) {
      const page = await this.#requests.get<ParkedPage>(pathOf`/v1/subscriptions/${name}/parked`, { after }, o);
      yield* page.parked;
      if (page.end) return;
      after = page.next;
    }
  }

  /** Delivers parked events again, and returns how many. */
  async replay(name: string, which: Selection, o: Limits = {}): Promise<number> {
    const path = pathOf`/v1/subscriptions/${name}/parked/replay`;
    return (await this.#requests.change<Counted>("POST", path, {}, which, o)).count;
  }

  /** Gives parked events up, by position, and returns how many. */
  async drop(name: string, positions: readonly number[], o: Limits = {}): Promise<number> {
    const path = pathOf`/v1/subscriptions/${name}/parked`;
    return (await this.#requests.change<Counted>("DELETE", path, { positions: positions.join(",") }, undefined, o)).count;
  }
}
