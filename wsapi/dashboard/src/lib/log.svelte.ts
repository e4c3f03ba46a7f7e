import type { GyreError } from "@gyre-events/client";
import type { PluginLogLine } from "@gyre-events/client/admin";
import { untrack } from "svelte";
import { live } from "./live.svelte.js";
import { errorOf } from "./query.svelte.js";

/** So many lines are kept, and read when the log is opened. */
const kept = 2000;
const begin = 300;
/** How often lines are drawn, in ms. */
const drawEvery = 200;

export const levels = ["debug", "info", "warn", "error"] as const;

/** Follows what a binding logs. It is made while a component is. */
export class Log {
  lines = $state.raw<readonly PluginLogLine[]>([]); // newest first
  /** What came since it was paused, newest first. */
  waiting = $state.raw<readonly PluginLogLine[]>([]);
  paused = $state(false);
  error = $state.raw<GyreError>();

  constructor(binding: string) {
    $effect(() => {
      const { operator, epoch } = live;
      if (operator === undefined || epoch < 0) return;
      const stop = new AbortController();
      this.error = undefined;
      let came: PluginLogLine[] = [];
      const draw = () => {
        if (came.length > 0) this.#take(came.reverse());
        came = [];
      };
      const timer = setInterval(draw, drawEvery);
      const after = untrack(() => (this.waiting[0] ?? this.lines[0])?.seq);
      const from = after === undefined ? { last: begin } : { after };
      void (async () => {
        try {
          for await (const line of operator.plugins.logs(binding, { ...from, follow: true, signal: stop.signal })) {
            came.push(line);
            if (came.length >= kept) draw();
          }
        } catch (e) {
          if (!stop.signal.aborted) this.error = errorOf(e);
        }
      })();
      return () => {
        stop.abort();
        clearInterval(timer);
      };
    });
  }

  /** Holds back what comes, or shows what was held back. */
  turn(): void {
    this.paused = !this.paused;
    const { waiting } = this;
    this.waiting = [];
    if (waiting.length > 0) this.#take(waiting);
  }

  #take(newer: readonly PluginLogLine[]): void {
    if (this.paused) this.waiting = [...newer, ...this.waiting].slice(0, kept);
    else this.lines = [...newer, ...this.lines].slice(0, kept);
  }
}
