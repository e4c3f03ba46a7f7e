import type { RecordedEvent } from "@gyre-events/client";
import { visible } from "./format.js";

/** What an event of the audit says. */
export interface Done {
  by?: string;
  role?: string;
  node?: string;
  from?: string;
  target?: string;
  outcome?: string;
  detail?: { note?: string };
}

export const doneIn = (e: RecordedEvent): Done => (e.isJSON ? ((e.data as Done | null) ?? {}) : {});

/** What it was done to; a key by what it is for. */
export function target(e: RecordedEvent): string {
  const { target, detail } = doneIn(e);
  return visible(detail?.note || target || "");
}

/** Acts, as what was done; others are shown by their name. */
const acts: Readonly<Record<string, string>> = {
  BackupBegun: "began a backup",
  CategoryRetentionCleared: "cleared the retention of category",
  CategoryRetentionSet: "set the retention of category",
  KeyCreated: "created key",
  KeyRevoked: "revoked key",
  NodeDrained: "drained",
  NodeUndrained: "undrained",
  NodeLeft: "took out of the ring:",
  ParkedDropped: "skipped parked events of",
  ParkedReplayed: "replayed parked events of",
  PluginUploaded: "uploaded",
  PluginDeployed: "deployed",
  PluginPaused: "paused plugin",
  PluginResumed: "resumed plugin",
  PluginRolledBack: "rolled back",
  PluginRebuilt: "began to rebuild",
  PluginRebuildCanceled: "canceled the rebuild of",
  PluginSwitched: "switched the generation of",
  PluginGenerationDropped: "dropped a generation of",
  PluginPoisonRetried: "gave back a parked event of",
  PluginPoisonDropped: "dropped a parked event of",
  PluginDeleted: "deleted plugin",
  PluginVersionDeleted: "deleted a version of",
  ProgressDeleted: "deleted the place",
  ScavengeStarted: "started a scavenge",
  ScavengeStopped: "stopped the scavenge",
  SnapshotDeleted: "deleted a snapshot of",
  StreamDeleted: "deleted stream",
  StreamRemoved: "removed the events of stream",
  StreamRetentionCleared: "cleared the retention of stream",
  StreamRetentionSet: "set the retention of stream",
  StreamTombstoned: "tombstoned stream",
  StreamUndeleted: "undeleted stream",
  SubscriptionDefined: "defined subscription",
  SubscriptionDeleted: "deleted subscription",
  SubscriptionPaused: "paused",
  SubscriptionReset: "reset",
  SubscriptionResumed: "resumed",
};

/** What was done, in words: "PluginRolledBack" is "rolled back". */
export function act(type: string): string {
  return acts[type] ?? type.replace(/(?!^)[A-Z]/g, (c) => ` ${c.toLowerCase()}`).toLowerCase();
}
