import type {
  PluginContent,
  PluginDeed,
  PluginDifference,
  PluginDryRun,
  PluginDryRunResult,
} from "@gyre-events/client/admin";
import { parse, stringify } from "lossless-json";
import { quoted } from "./snippets.js";

/** So much of everything is listed; all is counted. */
const show = 100;

type Base = NonNullable<PluginDryRun["state"]>;

/** What a dry run can begin with, in words. */
export const bases: readonly (readonly [Base, title: string])[] = [
  ["empty", "no state"],
  ["now", "the state of now"],
  ["before", "the state before the range"],
];

/** The dry run that an address asks for. */
export function askedOf(query: URLSearchParams, version: string): PluginDryRun {
  const number = (name: string) => {
    const text = query.get(name) ?? "";
    return /^[1-9]\d*$/.test(text) ? { [name]: Number(text) } : {};
  };
  const against = query.get("against");
  const state = bases.find(([name]) => name === query.get("state"))?.[0] ?? "empty";
  return { version, ...(against && { against }), ...number("from"), ...number("to"), ...number("count"), state, show };
}

/** The command that does the same. */
export function commandOf(binding: string, d: PluginDryRun): string {
  const flags = { version: d.version, against: d.against, from: d.from, to: d.to, count: d.count };
  const words = Object.entries(flags).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, quoted(String(value))],
  );
  if (d.state !== undefined && d.state !== "empty") words.push("--state", d.state);
  return ["gyre plugin dry-run", quoted(binding), ...words].join(" ");
}

/** A part of the range, with how much each version has appended for its events. */
export interface Bucket {
  from: number;
  to: number;
  tried: number;
  against: number;
  /** One of the differences that are listed is in it. */
  differs: boolean;
}

/** What the versions have appended over the range, in parts of one size. */
export function bucketsOf(r: PluginDryRunResult): Bucket[] {
  const size = Math.max(r.tried.outputs.bucketSize, r.against?.outputs.bucketSize ?? 1);
  const parts = Math.max(0, Math.ceil((r.to - r.from + 1) / size));
  const whole = Array.from({ length: parts }, (_, i): Bucket => {
    const from = r.from + i * size;
    return { from, to: Math.min(from + size - 1, r.to), tried: 0, against: 0, differs: false };
  });
  const at = (position: number) => whole[Math.floor((position - r.from) / size)];
  for (const side of ["tried", "against"] as const) {
    const outputs = r[side]?.outputs;
    outputs?.buckets.forEach((n, i) => {
      const bucket = at(r.from + i * outputs.bucketSize);
      if (bucket !== undefined) bucket[side] += n;
    });
  }
  for (const { position } of r.differences?.first ?? []) {
    const bucket = at(position);
    if (bucket !== undefined) bucket.differs = true;
  }
  return whole;
}

/** What is shown of a value. */
export type Shown = { [K in "valueText" | "valueBase64"]?: string | undefined };

/** A value as text: JSON as it is written, or its bytes; undefined if there is none. */
export function contentText(c: Shown | undefined): string | undefined {
  if (c === undefined) return undefined;
  if (c.valueBase64 === undefined) return c.valueText;
  const bytes = Array.from(atob(c.valueBase64), (b) => b.charCodeAt(0).toString(16).padStart(2, "0"));
  return bytes.length === 0 ? "no bytes" : bytes.join(" ");
}

/** How two versions differ about an event, in a few words. */
export function differenceWord(d: PluginDifference, tried: string, against: string): string {
  const [a, b] = [d.tried, d.against];
  if (a.fate !== b.fate) return a.fate === "acked" ? `${b.fate} by ${against}` : `${a.fate} by ${tried}`;
  if (a.outputs.length > 0 && b.outputs.length === 0) return `only ${tried} appends`;
  if (a.outputs.length === 0 && b.outputs.length > 0) return `only ${against} appends`;
  if (JSON.stringify(a.outputs) !== JSON.stringify(b.outputs)) return "appends differ";
  return a.fate === "acked" ? "state differs" : "reasons differ";
}

/** What a version did with an event, as JSON to compare. Metadata that the node makes is left out. */
export function deedText(d: PluginDeed): string {
  const value = (c: PluginContent) => (c.valueText === undefined ? contentText(c) : parse(c.valueText));
  const appends = d.outputs.map((o) => {
    const all = parse(o.metadataText ?? "{}") as object;
    const own = Object.entries(all).filter(([name]) => !made.includes(name));
    const metadata = own.length === 0 ? undefined : Object.fromEntries(own);
    return { stream: o.stream, type: o.type, data: value(o), metadata };
  });
  const state = Object.fromEntries(d.writes.map((w) => [w.key, value(w) ?? "(deleted)"]));
  return stringify({ fate: d.fate, reason: d.reason, appends, state }) as string;
}

const made = ["causation_depth", "causation_id", "correlation_id"];
