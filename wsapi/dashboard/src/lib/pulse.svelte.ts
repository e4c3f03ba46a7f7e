import { untrack } from "svelte";
import type { Stats } from "@gyre-events/client/admin";
import { live } from "./live.svelte.js";
import { poll } from "./poll.js";
import { quantile } from "./quantile.js";
import { session } from "./session.svelte.js";

/** So many seconds are remembered. */
const kept = 900;
/** Quantiles, and what is delivered, are of so many seconds: counters of plugins are up to 5 s old. */
const window = 10;

/** A second of a node. */
interface Beat {
  /** In seconds. */
  at: number;
  appended: number;
  delivered: number;
  /** Of appends, in ms; 0 without any. */
  p50: number;
  p99: number;
}

/** How the node is, second by second, for as long as the dashboard is open. */
class Pulse {
  stats = $state.raw<Stats>();
  beats = $state.raw<readonly Beat[]>([]);
  #recent: Stats[] = [];

  /** Looks at the node each second, until the effect that calls it ends. */
  watch(): () => void {
    const { operator } = live;
    if (operator === undefined || !session.may("metrics.see")) return () => {};
    return poll(async (signal) => {
      await operator.node.stats({ signal, timeoutMs: 5000 }).then(
        (s) => untrack(() => this.#take(s)),
        () => {}, // the page says that the node is away
      );
    }, 1000);
  }

  #take(s: Stats): void {
    const last = this.#recent.at(-1);
    if (last !== undefined && (s.node !== last.node || s.uptime < last.uptime)) this.#recent = []; // another process
    const before = this.#recent.at(-1);
    this.stats = s;
    this.#recent = [...this.#recent, s].slice(-window - 1);
    if (before === undefined || s.uptime === before.uptime) return;
    const seconds = s.uptime - before.uptime;
    const first = this.#recent[0] as Stats;
    const ms = (share: number) => 1000 * (quantile(share, first.appends.seconds, s.appends.seconds) ?? 0);
    const beat: Beat = {
      at: Date.parse(s.time) / 1000,
      appended: (s.store.events - before.store.events) / seconds,
      delivered: delivered(first, s),
      p50: ms(0.5),
      p99: ms(0.99),
    };
    this.beats = [...this.beats, beat].slice(-kept);
  }
}

export const pulse = new Pulse();

/** What goes to clients, whose subscriptions are among the reads, and to plugins; a second. */
function delivered(from: Stats, to: Stats): number {
  const toClients = to.reads.events - from.reads.events;
  const toPlugins = Math.max(0, to.plugins.events - from.plugins.events); // a binding may have moved away
  return (toClients + toPlugins) / (to.uptime - from.uptime);
}
