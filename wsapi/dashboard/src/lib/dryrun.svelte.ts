import type { GyreError } from "@gyre-events/client";
import type { Admin, PluginDryRun, PluginDryRunProgress, PluginDryRunResult } from "@gyre-events/client/admin";
import { errorOf } from "./query.svelte.js";

/** So many looks at how far it is are kept, the newest. */
const kept = 240;

/** A dry run, under way or over. It goes on while something else of its plugin is shown. */
export class DryRunning {
  running = $state(false);
  /** How far it was, from time to time. */
  looks = $state.raw<readonly PluginDryRunProgress[]>([]);
  result = $state.raw<PluginDryRunResult>();
  error = $state.raw<GyreError>();
  #first = $state(0);
  #stop = new AbortController();

  async run(operator: Admin, binding: string, asked: PluginDryRun): Promise<void> {
    this.cancel();
    const stop = (this.#stop = new AbortController());
    this.running = true;
    this.looks = [];
    this.#first = asked.from ?? 0;
    this.result = this.error = undefined;
    const onProgress = (p: PluginDryRunProgress) => {
      if (stop.signal.aborted || p.to === 0) return;
      if (this.#first === 0) this.#first = p.position;
      this.looks = [...this.looks, p].slice(-kept);
    };
    try {
      const result = await operator.plugins.dryRun(binding, asked, { signal: stop.signal, onProgress });
      if (!stop.signal.aborted) this.result = result;
    } catch (e) {
      if (!stop.signal.aborted) this.error = errorOf(e);
    }
    if (!stop.signal.aborted) this.running = false;
  }

  /** Ends it; the node writes nothing, and so there is nothing to take back. */
  cancel(): void {
    this.#stop.abort();
    this.running = false;
  }

  /** How far it is now. */
  get now(): PluginDryRunProgress | undefined {
    return this.looks.at(-1);
  }

  /** How much of the range is done, from 0 to 1. */
  get part(): number {
    const p = this.now;
    if (p === undefined || p.before === true) return 0;
    return (p.position - this.#first + 1) / Math.max(1, p.to - this.#first + 1);
  }

  /** The outputs between looks. */
  get outputs(): readonly number[] {
    return this.looks.slice(1).map((p, i) => Math.max(0, p.outputs - (this.looks[i]?.outputs ?? 0)));
  }
}
