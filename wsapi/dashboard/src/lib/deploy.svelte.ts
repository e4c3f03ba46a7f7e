import { GyreError } from "@gyre-events/client";
import type { Place, PluginBinding, PluginDeploy, PluginLimits, PluginVersion } from "@gyre-events/client/admin";
import { parse } from "lossless-json";
import { pretty } from "./json.js";
import { within } from "./plugins.js";

/** A limit as people set it: in a unit. */
export interface LimitField {
  name: keyof PluginLimits;
  title: string;
  unit: number;
}

const allLimits: readonly LimitField[] = [
  { name: "memoryBytes", title: "Memory, MiB", unit: 1 << 20 },
  { name: "timeMs", title: "Batch time, ms", unit: 1 },
  { name: "fuel", title: "Batch fuel, M", unit: 1e6 },
  { name: "batchEvents", title: "Batch, events", unit: 1 },
  { name: "stateBytes", title: "State, MiB", unit: 1 << 20 },
  { name: "initMs", title: "Start, ms", unit: 1 },
];

/** The limits of a kind. A validator has no state, and no batches but those of appends. */
export function limitFields(kind: string | undefined): readonly LimitField[] {
  if (kind !== "validate") return allLimits;
  return allLimits.flatMap((f) =>
    f.name === "batchEvents" || f.name === "stateBytes"
      ? []
      : { ...f, title: f.title.replace("Batch time", "An append").replace("Batch fuel", "Its fuel") },
  );
}

type Errors = NonNullable<PluginDeploy["onError"]>;

/** What is to be deployed, as a form has it. It begins with what is, or with what the manifest wishes. */
export class Wish {
  name = $state("");
  grants = $state<string[]>([]);
  limits = $state<Record<string, number>>({});
  config = $state("");
  lanes = $state(1);
  from = $state<"as it says" | "start" | "end">("as it says");
  attempts = $state(0);
  minMs = $state(0);
  maxMs = $state(0);
  then = $state<NonNullable<Errors["then"]>>("park");
  /** A validator has no lanes and no place to begin. It refuses what it fails on, or accepts it. */
  readonly validates: boolean;
  /** Patterns of the streams and types that it judges, as they are typed. */
  streams = $state("");
  types = $state("");
  readonly #config: string;

  constructor(
    readonly version: PluginVersion,
    readonly binding: PluginBinding | undefined,
    defaults: PluginLimits,
  ) {
    const m = version.manifest;
    this.validates = m.kind === "validate";
    this.name = binding?.binding ?? version.plugin;
    this.grants = binding ? [...binding.grants] : (m.capabilities ?? []).filter(within);
    const limits = binding?.limits ?? { ...defaults, ...(this.validates && { timeMs: 10 }), ...m.limits };
    const input = binding?.input ?? m.subscription;
    this.streams = (input?.filter?.streams ?? (input?.stream ? [input.stream] : [])).join(", ");
    this.types = (input?.filter?.types ?? []).join(", ");
    for (const { name, unit } of allLimits) this.limits[name] = (limits[name] ?? 0) / unit;
    this.#config = this.config = pretty(binding?.configText ?? m.configText ?? "");
    this.lanes = m.lanes || 1;
    const e: Errors = binding?.onError ?? {};
    this.attempts = e.attempts ?? 5;
    this.minMs = e.minMs ?? 100;
    this.maxMs = e.maxMs ?? 30_000;
    this.then = e.then ?? (this.validates ? "refuse" : "park");
  }

  /** What can be granted: what the manifest asks for, and what is granted besides. */
  get asks(): readonly string[] {
    return [...new Set([...(this.version.manifest.capabilities ?? []), ...(this.binding?.grants ?? [])])];
  }

  grant(capability: string, on: boolean): void {
    this.grants = on ? [...this.grants, capability] : this.grants.filter((g) => g !== capability);
  }

  /** The request. What was not touched is left out where the node keeps it. */
  deploy(): PluginDeploy {
    const { binding: b, version: v } = this;
    const limits: PluginLimits = {};
    for (const { name, unit } of allLimits) limits[name] = Math.round((this.limits[name] ?? 0) * unit);
    const d: PluginDeploy = {
      plugin: v.plugin,
      version: v.version,
      grants: [...this.grants],
      limits,
      onError: this.validates
        ? { then: this.then }
        : { attempts: this.attempts, minMs: this.minMs, maxMs: this.maxMs, then: this.then },
    };
    if (this.config.trim() !== this.#config.trim()) d.configText = configOf(this.config);
    if (this.validates) d.input = { filter: { streams: patterns(this.streams), types: patterns(this.types) } };
    if (b === undefined && !this.validates) {
      d.lanes = this.lanes;
      const from: Place | undefined = this.from === "as it says" ? undefined : this.from;
      if (from !== undefined) d.input = { ...v.manifest.subscription, from };
    }
    return d;
  }
}

const patterns = (text: string) => text.split(/[\s,]+/).filter(Boolean);

/** The JSON of the config in a text; the error is invalid_plugin_config. */
export function configOf(text: string): string {
  const wrong = (detail: string) =>
    new GyreError("invalid_plugin_config", detail, { fix: 'It is an object of JSON, such as {"threshold":50}.' });
  const json = text.trim() || "{}";
  try {
    parse(json);
  } catch (e) {
    throw wrong(`the config is no JSON: ${(e as Error).message}`);
  }
  if (!json.startsWith("{")) throw wrong("the config is no object");
  return json;
}
