import { type Address, parseAddress, unique } from "./address.js";
import { GyreError } from "./errors.js";

/** Bounds the addresses that are taken from a server. */
const maxLearned = 64;

/** The addresses of a client. */
export class Nodes {
  /** Of the newest connection. */
  at: Address;
  readonly #configured: readonly Address[];
  /** From the last welcome or goaway that had any, in a random order. */
  #learned: Address[] = [];

  constructor(configured: readonly Address[]) {
    if (configured[0] === undefined) throw new GyreError("invalid_config", "there is no address");
    this.#configured = configured;
    this.at = configured[0];
  }

  /** The addresses in the order to try them at first. */
  first(): readonly Address[] {
    return this.#configured;
  }

  /**
   * The addresses in the order to try them after the connection is over. Its own is the last
   * of those that were configured. If its node has asked the client to leave, those that it
   * named come first, and its own comes last of all.
   */
  next(left: boolean): Address[] {
    const here = this.#configured.findIndex((a) => a.http === this.at.http) + 1;
    const around = [...this.#configured.slice(here), ...this.#configured.slice(0, here)];
    if (!left) return unique([...around, ...this.#learned]);
    const both = this.#learned.filter((a) => around.some((b) => b.http === a.http));
    return unique([...both, ...this.#learned, ...around]);
  }

  /** The addresses in the order to try them for a request beside the connection. */
  now(): Address[] {
    return unique([this.at, ...this.#configured, ...this.#learned]);
  }

  /** Takes addresses that the present node has named. They are reached as it was, unless they say how: over TLS, if it was. */
  learn(names: readonly string[] | undefined): void {
    const scheme = this.at.http.split(":")[0] as string;
    const list: Address[] = [];
    for (const name of (names ?? []).slice(0, maxLearned)) {
      try {
        const a = parseAddress(name.includes("://") ? name : `${scheme}://${name}`);
        if (a.http !== this.at.http && a.http.startsWith(scheme)) list.splice(Math.floor(Math.random() * (list.length + 1)), 0, a);
      } catch {
        // A name that cannot be understood is of no use, and no reason to end.
      }
    }
    if (list.length > 0) this.#learned = list;
  }
}

/** Why an address was of no use. */
export interface Failed {
  at: Address;
  error: GyreError;
}

/** One error for all. It is one that may pass if any of them may, and says more than unavailable if any does. */
export function together(failed: readonly Failed[]): GyreError {
  const rank = (e: GyreError) => (e.retryable ? (e.code === "unavailable" ? 1 : 2) : 0);
  const errors = failed.map((f) => f.error);
  const best = errors.reduce((a, b) => (rank(b) > rank(a) ? b : a));
  if (errors.length === 1) return best;
  const texts = failed.map(({ at, error: { detail } }) =>
    detail.includes(at.http) || detail.includes(at.ws) ? detail : `${at.http}: ${detail}`,
  );
  return new GyreError(best.code, texts.join("; "), { retryable: best.retryable, cause: best });
}
