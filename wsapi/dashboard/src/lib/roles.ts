import type { NewKey } from "@gyre-events/client/admin";
import type { Action } from "./session.svelte.js";

export type Role = NewKey["role"];

/** The roles that a key can have, and what they are for. */
export const roles: readonly { role: Role; title: string; about: string; streams: "needed" | "possible" | "none" }[] = [
  {
    role: "reader",
    title: "Reader",
    about: "reads and follows streams that match, and $all without the rest",
    streams: "needed",
  },
  {
    role: "writer",
    title: "Writer",
    about: "appends to streams that match, reads and deletes them",
    streams: "needed",
  },
  {
    role: "plugin-author",
    title: "Plugin author",
    about: "uploads plugins, and deploys them on streams that match",
    streams: "possible",
  },
  {
    role: "operator",
    title: "Operator",
    about: "steers subscriptions, plugins and the ring; reads and deletes streams that match",
    streams: "possible",
  },
  { role: "admin", title: "Admin", about: "does everything, keys and the audit included", streams: "none" },
];

/** What roles differ in: an action that stands for it, and whether patterns bind it. */
export const rights: readonly { words: string; action: Action; bound: boolean; roles: readonly Role[] }[] = [
  { words: "Read events and follow", action: "read", bound: true, roles: ["reader", "writer", "operator"] },
  { words: "Append", action: "append", bound: true, roles: ["writer"] },
  { words: "Delete streams, and undo that", action: "streams.delete", bound: true, roles: ["writer", "operator"] },
  { words: "Remove streams with their events", action: "streams.remove", bound: true, roles: ["operator"] },
  { words: "Set the retention of streams", action: "streams.retention", bound: true, roles: ["operator"] },
  {
    words: "Consume subscriptions, keep places",
    action: "consume",
    bound: true,
    roles: ["reader", "writer", "operator"],
  },
  {
    words: "Read the state of plugins",
    action: "plugins.state",
    bound: true,
    roles: ["reader", "plugin-author", "operator"],
  },
  {
    words: "Upload, deploy and steer plugins",
    action: "plugins.deploy",
    bound: true,
    roles: ["plugin-author", "operator"],
  },
  {
    words: "Steer subscriptions, replay parked events",
    action: "subscriptions.steer",
    bound: true,
    roles: ["operator"],
  },
  { words: "See and drain nodes", action: "cluster.steer", bound: false, roles: ["operator"] },
  { words: "Scavenge the store", action: "scavenge", bound: false, roles: ["operator"] },
  { words: "See metrics and settings", action: "metrics.see", bound: false, roles: ["operator"] },
  { words: "Back up the store", action: "backup", bound: false, roles: [] },
  { words: "Grant plugins hosts and secrets", action: "plugins.grant", bound: false, roles: [] },
  { words: "Manage keys, read $audit", action: "keys.manage", bound: false, roles: [] },
];

/** Actions that a question can be asked about, in words, and what their target is. */
export const questions: readonly { action: Action; words: string; target: "Stream" | "Name" | undefined }[] = [
  { action: "append", words: "append to", target: "Stream" },
  { action: "read", words: "read", target: "Stream" },
  { action: "streams.delete", words: "delete or undelete", target: "Stream" },
  { action: "streams.remove", words: "remove the events of", target: "Stream" },
  { action: "streams.retention", words: "set the retention of", target: "Stream" },
  { action: "consume", words: "consume", target: "Stream" },
  { action: "progress", words: "use the place", target: "Name" },
  { action: "subscriptions.steer", words: "steer the subscription", target: "Name" },
  { action: "plugins.upload", words: "upload the plugin", target: "Name" },
  { action: "plugins.deploy", words: "deploy the binding", target: "Name" },
  { action: "plugins.steer", words: "steer the binding", target: "Name" },
  { action: "cluster.steer", words: "drain nodes", target: undefined },
  { action: "scavenge", words: "scavenge the store", target: undefined },
  { action: "backup", words: "back up the store", target: undefined },
  { action: "keys.manage", words: "manage keys", target: undefined },
];

/** Patterns from a line of text. */
export const patterns = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);
