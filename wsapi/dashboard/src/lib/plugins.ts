import type {
  Admin,
  Definition,
  PluginBinding,
  PluginListed,
  PluginManifest,
  PluginShadowStatus,
} from "@gyre-events/client/admin";
import { bytes } from "./format.js";

/** What a capability lets a plugin do, in words. */
export function meaning(capability: string): string {
  const at = capability.indexOf(":");
  const [kind, scope] = at < 0 ? [capability, ""] : [capability.slice(0, at), capability.slice(at + 1)];
  switch (kind) {
    case "append":
      return scope.endsWith("*") && !scope.slice(0, -1).includes("*")
        ? `Append to streams that begin with ${scope.slice(0, -1)}`
        : `Append to ${scope}`;
    case "state":
      return "Keep state from event to event";
    case "streams.read":
      return scope === "" ? "Read any stream while it handles" : `Read ${scope} while it handles`;
    case "http":
      return `Ask ${scope} over HTTP`;
    case "secret":
      return `Read the secret ${scope}`;
    default:
      return "This page does not know what it does";
  }
}

/** Whether a capability is about the store alone. Others leave it, and are never granted unasked. */
export function within(capability: string): boolean {
  return /^(append:|state$|streams\.read)/.test(capability);
}

/** What a binding reads, in words. */
export function reads(input: PluginManifest["subscription"]): string {
  const { streams = [], types = [], expr, plugin } = input?.filter ?? {};
  const parts = [input?.stream ?? "$all"];
  if (streams.length > 0) parts.push(`streams ${streams.join(", ")}`);
  if (types.length > 0) parts.push(`types ${types.join(", ")}`);
  if (expr) parts.push(expr);
  if (plugin) parts.push(`what ${plugin} keeps`);
  return parts.join(" · ");
}

/** A size with its unit. */
export const size = (n: number | undefined) => bytes(n).join(" ").trim();

/** The kinds that shape subscriptions: they are named in definitions, and are not deployed. */
export const shapes = (kind: string | undefined) => /^(filter|map|partition)$/.test(kind ?? "");

/** Which appends a validator judges, in words. */
export function judges(input: PluginManifest["subscription"]): string {
  const { streams = input?.stream ? [input.stream] : [], types = [] } = input?.filter ?? {};
  return [streams.join(", ") || "no stream", ...(types.length > 0 ? [`types ${types.join(", ")}`] : [])].join(" · ");
}

/** How a binding is, in a word or two. */
export function stateWord(b: PluginBinding): string {
  if (b.kind === "validate" && b.state !== "running")
    return b.state === "paused" ? "not in force" : `not in force, ${b.state}`;
  if (b.state === "running" && b.beside) return `rebuilding ${Math.floor(b.beside.percent)} %`;
  if (b.state === "running" && b.lag > behind) return "catching up";
  return b.state;
}

/** The shape that goes with it. */
export function stateShape(b: PluginBinding): string {
  if (b.kind === "validate" && b.state === "paused") return "blocked";
  return b.state === "running" && stateWord(b) !== "running" ? "catchup" : b.state;
}

/** A running binding with a lag above it catches up. */
const behind = 1000;

/** Whether a person should look at it: a validator that is paused lets everything through. */
export const ill = (b: PluginBinding | undefined) =>
  b !== undefined && (/stopped|broken|blocked/.test(b.state) || (b.kind === "validate" && b.state === "paused"));

/** What has a name: a plugin, a binding, or both; undefined if nothing has. */
export async function listed(operator: Admin, name: string, signal: AbortSignal): Promise<PluginListed | undefined> {
  for await (const p of operator.plugins.list({ prefix: name, signal })) return p.name === name ? p : undefined;
  return undefined;
}

/** For how many of the events a version in the shadow did the same, in percent: 100 % only if it is all of them. */
export function agreement({ events, differ }: Pick<PluginShadowStatus, "events" | "differ">): string {
  if (events === 0) return "–";
  const parts = 100_000;
  const part = differ === 0 ? parts : Math.min(parts - 1, Math.floor((parts * (events - differ)) / events));
  if (part % parts === 0) return `${part / (parts / 100)} %`;
  const digits = part < 0.99 * parts ? 1 : 3; // few differences count, many do not
  return `${(Math.floor(part / 10 ** (3 - digits)) / 10 ** digits).toFixed(digits)} %`;
}

/** The versions of plugins that a definition names, as NAME@VERSION. */
export function shapersOf(d: Pick<Definition, "filter" | "map" | "partitionBy"> | undefined): string[] {
  const map = typeof d?.map === "object" && d.map !== null && "plugin" in d.map ? d.map.plugin : undefined;
  const by = d?.partitionBy?.startsWith("plugin:") ? d.partitionBy.slice("plugin:".length) : undefined;
  return [d?.filter?.plugin, map, by].filter((at) => at !== undefined);
}
