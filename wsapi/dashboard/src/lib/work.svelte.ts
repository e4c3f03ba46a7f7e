import type { PluginTotals } from "@gyre-events/client/admin";
import { SvelteMap } from "svelte/reactivity";
import { untrack } from "svelte";

/** So many looks are kept, and figures of now are of so many ms. */
const kept = 450;
const window = 10_000;

type Totals = Pick<PluginTotals, "batches" | "events" | "appended" | "fuel" | "seconds">;

/** How a binding is. */
interface Seen {
  totals: Totals;
  lag: number;
  /** Of its handlers. */
  memoryBytes?: number;
}

/** What was done by a look. */
export interface Look extends Required<Seen> {
  /** In ms. */
  at: number;
}

/** What was done between two looks. */
export interface Done {
  events: number; // a second
  appended: number; // a second
  ms: number; // in the handler, a batch
  fuel: number; // a batch
  busy: number; // how much of the time a handler ran
}

export const nothing: Done = { events: 0, appended: 0, ms: 0, fuel: 0, busy: 0 };

/** What was done from one look to another. Totals begin anew where a binding does. */
export function between(a: Look | undefined, b: Look | undefined): Done {
  if (a === undefined || b === undefined || b.at <= a.at) return nothing;
  const seconds = (b.at - a.at) / 1000;
  const grown = (name: keyof Totals) => (b.totals[name] ?? 0) - (a.totals[name] ?? 0);
  const batches = grown("batches");
  if (batches < 0) return nothing;
  return {
    events: grown("events") / seconds,
    appended: grown("appended") / seconds,
    ms: batches === 0 ? 0 : (1000 * grown("seconds")) / batches,
    fuel: batches === 0 ? 0 : grown("fuel") / batches,
    busy: grown("seconds") / seconds,
  };
}

/** Remembers what bindings have done, for as long as the page is open. */
export class Work {
  readonly #looks = new SvelteMap<string, readonly Look[]>();

  add(name: string, { totals, lag, memoryBytes = 0 }: Seen): void {
    const looks = untrack(() => this.#looks.get(name)) ?? [];
    this.#looks.set(name, [...looks, { at: Date.now(), totals, lag, memoryBytes }].slice(-kept));
  }

  /** What was done lately. */
  now(name: string): Done {
    return between(...this.#lately(name));
  }

  #lately(name: string): [Look | undefined, Look | undefined] {
    const looks = this.#looks.get(name) ?? [];
    const last = looks.at(-1);
    return [looks.find((l) => l.at >= (last?.at ?? 0) - window), last];
  }

  /** The lag at each look but the first. */
  lags(name: string): readonly number[] {
    return (this.#looks.get(name) ?? []).slice(1).map((l) => l.lag);
  }

  /** The memory at each of them, in bytes. */
  memory(name: string): readonly number[] {
    return (this.#looks.get(name) ?? []).slice(1).map((l) => l.memoryBytes);
  }

  /** When those looks were, in seconds. */
  times(name: string): readonly number[] {
    return (this.#looks.get(name) ?? []).slice(1).map((l) => l.at / 1000);
  }

  /** What was done before each of them. */
  history(name: string): readonly Done[] {
    const looks = this.#looks.get(name) ?? [];
    return looks.slice(1).map((l, i) => between(looks[i], l));
  }
}
