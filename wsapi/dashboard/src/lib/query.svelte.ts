import { GyreError } from "@gyre-events/client";
import type { Client } from "@gyre-events/client";
import type { Admin } from "@gyre-events/client/admin";
import { live } from "./live.svelte.js";

/** What was asked for: the newest answer, or why there is none. */
export class Query<T> {
  value = $state.raw<T>();
  error = $state.raw<GyreError>();
  loading = $state(true);
  /** Asks again now. */
  again: () => void = () => {};
}

export interface Asked {
  client: Client;
  operator: Admin;
  signal: AbortSignal;
}

/**
 * Asks the node for something, and again when what load has read synchronously changes, after a
 * reconnect, and every so many ms while the page is seen. It is called while a component is made.
 */
export function query<T>(load: (a: Asked) => Promise<T>, everyMs = 0): Query<T> {
  const q = new Query<T>();
  $effect(() => {
    const { client, operator, epoch } = live;
    if (client === undefined || operator === undefined || epoch < 0) return;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let runs = 0;
    const next = () => {
      if (everyMs > 0 && !stop.signal.aborted) timer = setTimeout(() => (document.hidden ? next() : run()), everyMs);
    };
    const run = () => {
      clearTimeout(timer);
      const current = ++runs;
      const ended = () => stop.signal.aborted || current !== runs; // the newer answer counts
      load({ client, operator, signal: stop.signal })
        .then((value) => {
          if (ended()) return;
          q.value = value;
          q.error = undefined;
        })
        .catch((e: unknown) => {
          if (!ended()) q.error = errorOf(e);
        })
        .finally(() => {
          if (ended()) return;
          q.loading = false;
          next();
        });
    };
    q.loading = true;
    q.again = run;
    run();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  });
  return q;
}

/** The first so many items of what goes through a list. */
export async function first<T>(list: AsyncIterable<T>, most: number): Promise<{ items: T[]; more: boolean }> {
  const items: T[] = [];
  for await (const item of list) {
    if (items.length === most) return { items, more: true };
    items.push(item);
  }
  return { items, more: false };
}

/** An error of the catalogue, whatever was thrown. */
export function errorOf(e: unknown): GyreError {
  return e instanceof GyreError ? e : new GyreError("internal", e instanceof Error ? e.message : String(e));
}
