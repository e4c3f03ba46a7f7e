import type { PluginEntry } from "@gyre-events/client/admin";
import { hex } from "./hex.js";

/** A value that has changed is marked for so many ms; the rate is that of so many ms. */
const markedMs = 2000;
const rateMs = 10_000;

/** Finds what has changed in state, from one look at a page of it to the next. */
export class Watch {
  /** The values before, of keys that have just changed. */
  was = $state.raw<ReadonlyMap<string, string | undefined>>(new Map());
  /** Changes a second. */
  rate = $state(0);
  #values: Map<string, string> | undefined;
  #of = "";
  readonly #marked = new Map<string, { value: string | undefined; at: number }>();
  #changes: number[] = []; // when, in ms

  /** Takes a page; of says what it is a page of, and another one begins anew. */
  take(of: string, entries: readonly PluginEntry[], now: number): void {
    const values = new Map(entries.map((e) => [e.key, textOf(e)]));
    if (of !== this.#of || this.#values === undefined) {
      this.#marked.clear();
      this.#changes = [];
    } else {
      for (const [key, value] of values) {
        const before = this.#values.get(key);
        if (before === value) continue;
        this.#marked.set(key, { value: before, at: now });
        this.#changes.push(now);
      }
    }
    this.#of = of;
    this.#values = values;
    for (const [key, { at }] of this.#marked) if (at <= now - markedMs) this.#marked.delete(key);
    this.#changes = this.#changes.filter((at) => at > now - rateMs);
    this.rate = this.#changes.length / (rateMs / 1000);
    this.was = new Map([...this.#marked].map(([key, { value }]) => [key, value]));
  }
}

/** A value as text: JSON as it is written, or the digits of bytes. */
export function textOf(e: PluginEntry): string {
  return e.valueText ?? hex(e.value as Uint8Array);
}
