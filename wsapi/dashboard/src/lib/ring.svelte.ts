import { untrack } from "svelte";
import type { GyreError } from "@gyre-events/client";
import type { RingSeen, RingStatus, Stats } from "@gyre-events/client/admin";
import { live } from "./live.svelte.js";
import { poll } from "./poll.js";
import { pulse } from "./pulse.svelte.js";
import { errorOf } from "./query.svelte.js";
import { type Moving, type Owner, shortNames } from "./ringshape.js";
import { session } from "./session.svelte.js";
import { Track } from "./track.svelte.js";

/** The ring as the node sees it, for as long as the dashboard is open. */
class Ring {
  status = $state.raw<RingStatus>();
  error = $state.raw<GyreError>();
  /** Which color a node has, from 1: a node keeps it while others come and go. */
  #colors = $state.raw<Readonly<Record<string, number>>>({});
  #stats = $state.raw<Readonly<Record<string, Stats>>>({});
  readonly #rates = new Track();
  readonly #known = $derived(this.status !== undefined);

  /** There is a ring, and the principal may see it. */
  get seen(): boolean {
    return live.features.includes("cluster") && session.may("cluster.see");
  }

  /** Looks at the ring each second, until the effect that calls it ends. */
  watch(): () => void {
    const { operator } = live;
    if (operator === undefined || !this.seen) return () => {};
    return poll(async (signal) => {
      await operator.cluster.status({ signal, timeoutMs: 5000 }).then(
        (status) => untrack(() => this.#take(status)),
        (e: unknown) => {
          if (!signal.aborted) this.error = errorOf(e);
        },
      );
    }, 1000);
  }

  /** Looks at the counters of the other nodes each two seconds, until the effect that calls it ends. */
  measure(): () => void {
    const { operator } = live;
    if (operator === undefined || !this.#known || !session.may("metrics.see")) return () => {};
    const measured = (m: RingSeen, signal: AbortSignal) =>
      operator.node.stats({ node: m.node, signal, timeoutMs: 2000 }).then(
        (s) => {
          this.#rates.add(m.node, 0, s.store.events);
          this.#stats = { ...this.#stats, [m.node]: s };
        },
        () => {}, // the ring says that it is gone
      );
    const look = async (signal: AbortSignal) => {
      const self = this.status?.self.node;
      const others = this.status?.members.filter((m) => m.node !== self && m.state === "member") ?? [];
      await Promise.all(others.map((m) => measured(m, signal)));
    };
    return untrack(() => poll(look, 2000));
  }

  color(node: string): number {
    return this.#colors[node] ?? 1;
  }

  /** A node's name without what all names of the ring share. */
  short(node: string): string {
    const nodes = this.status?.members.map((m) => m.node) ?? [];
    return shortNames(nodes)[nodes.indexOf(node)] ?? node;
  }

  /** What a node appends, in events a second. */
  rate(node: string): number {
    return node === this.status?.self.node ? (pulse.beats.at(-1)?.appended ?? 0) : this.#rates.rate(node);
  }

  /** The counters of a node; undefined if they are not known. */
  stats(node: string): Stats | undefined {
    return node === this.status?.self.node ? pulse.stats : this.#stats[node];
  }

  /** Who owns slots. */
  get owners(): Owner[] {
    const inView = this.status?.members.filter((m) => m.inView) ?? [];
    return inView.map((m) => ({ name: m.node, slots: m.slots, rate: this.rate(m.node), color: this.color(m.node) }));
  }

  /** Slots on their way. */
  get moves(): Moving[] {
    return (this.status?.moves ?? []).map((m) => ({ ...m, color: this.color(m.from) }));
  }

  #take(status: RingStatus): void {
    this.status = status;
    this.error = undefined;
    const strangers = status.members.filter((m: RingSeen) => this.#colors[m.node] === undefined);
    if (strangers.length === 0) return;
    const colors = { ...this.#colors };
    for (const m of strangers) colors[m.node] = Object.keys(colors).length + 1;
    this.#colors = colors;
  }
}

export const ring = new Ring();
