import type * as raw from "./schemas.js";
import { elementsOf, membersOf } from "./text.js";

/** What people have written, or their code: its numbers may be ones that JavaScript has not. */
type Written = "value" | "data" | "metadata" | "config" | "configSchema";

/** An answer in which valueText is beside value, and so on: the JSON, with its numbers as they were written. */
export type Exact<T> = T extends readonly (infer E)[]
  ? Exact<E>[]
  : T extends object
    ? { [K in keyof T]: K extends Written ? T[K] : Exact<T[K]> } & { [K in Written & keyof T as `${K}Text`]?: string }
    : T;

/** What is deployed, and how it is doing. */
export type PluginBinding = Exact<raw.PluginBinding>;
/** A value of a plugin: JSON with its text, or bytes in base64. */
export type PluginContent = Exact<raw.PluginContent>;
/** What a version did with an event. */
export type PluginDeed = Exact<raw.PluginDeed>;
/** What to deploy. With configText the config is sent as it is written there. */
export type PluginDeploy = Exact<raw.PluginDeploy>;
/** An event that two versions did something different for. */
export type PluginDifference = Exact<raw.PluginDifference>;
/** How two versions of a dry run differ. */
export type PluginDifferences = Exact<raw.PluginDifferences>;
/** A message of a dry run. */
export type PluginDryRunMessage = Exact<raw.PluginDryRunMessage>;
/** What came of a dry run. */
export type PluginDryRunResult = Exact<raw.PluginDryRunResult>;
/** What has a name: a plugin, a binding, or both. */
export type PluginListed = Exact<raw.PluginListed>;
/** What a version says of itself. */
export type PluginManifest = Exact<raw.PluginManifest>;
/** An event that a version would append. */
export type PluginOutput = Exact<raw.PluginOutput>;
/** A page of a binding's state. */
export type PluginState = Exact<raw.PluginState>;
/** All that is known of a parked event. */
export type PluginPoisonEvent = Exact<raw.PluginPoisonEvent>;
/** What a version did with a parked event, without effect. */
export type PluginPoisonTrial = Exact<raw.PluginPoisonTrial>;
/** How a shadow is doing, with the last differences. */
export type PluginShadowReport = Exact<raw.PluginShadowReport>;
/** A key whose value differs. */
export type PluginStateChange = Exact<raw.PluginStateChange>;
/** How a state differs from another. */
export type PluginStateDiff = Exact<raw.PluginStateDiff>;
/** Something that a handler did with an event. */
export type PluginStep = Exact<raw.PluginStep>;
/** What a handler did with an event, in order. */
export type PluginSteps = Exact<raw.PluginSteps>;
/** What a version did in a dry run. */
export type PluginTrial = Exact<raw.PluginTrial>;
/** A version of a plugin. */
export type PluginVersion = Exact<raw.PluginVersion>;

/** Parses an answer. Its text begins with the value. */
export function exactOf(text: string): unknown {
  if (text[0] === "[") return elementsOf(text).map(exactOf);
  if (text[0] !== "{") return JSON.parse(text);
  const o: Record<string, unknown> = {};
  for (const [name, part] of membersOf(text)) {
    const written = /^(value|data|metadata|config(Schema)?)$/.test(name);
    o[name] = written ? JSON.parse(part) : exactOf(part);
    if (written) o[`${name}Text`] = part;
  }
  return o;
}
