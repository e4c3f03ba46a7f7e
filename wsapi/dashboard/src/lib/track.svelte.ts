import { untrack } from "svelte";
import { SvelteMap } from "svelte/reactivity";

/** So many figures of each name are kept. */
const kept = 450;

interface Past {
  values: number[];
  /** The newest of a counter, and when it was seen, in ms. */
  total: number;
  at: number;
  /** Its growth, a second. */
  rate: number;
}

/** Remembers figures of things with names, for as long as the page is open. */
export class Track {
  readonly #past = new SvelteMap<string, Past>();

  /** Takes the newest figure of a name, and of a counter that grows. */
  add(name: string, value: number, total: number): void {
    const at = Date.now();
    const past = untrack(() => this.#past.get(name));
    const seconds = past === undefined ? 0 : (at - past.at) / 1000;
    const rate = past === undefined || seconds < 0.5 || total < past.total ? 0 : (total - past.total) / seconds;
    this.#past.set(name, { values: [...(past?.values ?? []), value].slice(-kept), total, at, rate });
  }

  /** Forgets what has another name. */
  keep(names: ReadonlySet<string>): void {
    for (const name of untrack(() => [...this.#past.keys()])) if (!names.has(name)) this.#past.delete(name);
  }

  of(name: string): readonly number[] {
    return this.#past.get(name)?.values ?? [];
  }

  /** The growth of the counters a second, of one name or of all together. */
  rate(name?: string): number {
    if (name !== undefined) return this.#past.get(name)?.rate ?? 0;
    return [...this.#past.values()].reduce((n, p) => n + p.rate, 0);
  }
}
