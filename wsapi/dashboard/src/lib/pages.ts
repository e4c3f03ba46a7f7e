import type { Component } from "svelte";
import type { Action } from "./session.svelte.js";

// The code of a page is loaded when it is opened, or before, while nothing else is to do.
const Access = () => import("../pages/Access.svelte");
const All = () => import("../pages/All.svelte");
const Cluster = () => import("../pages/Cluster.svelte");
const Event = () => import("../pages/Event.svelte");
const Missing = () => import("../pages/Missing.svelte");
const Overview = () => import("../pages/Overview.svelte");
const Plugin = () => import("../pages/Plugin.svelte");
const Plugins = () => import("../pages/Plugins.svelte");
const PluginUpload = () => import("../pages/PluginUpload.svelte");
const Projections = () => import("../pages/Projections.svelte");
const Retentions = () => import("../pages/Retentions.svelte");
const Settings = () => import("../pages/Settings.svelte");
const Start = () => import("../pages/Start.svelte");
const Stream = () => import("../pages/Stream.svelte");
const Streams = () => import("../pages/Streams.svelte");
const Subscription = () => import("../pages/Subscription.svelte");
const Subscriptions = () => import("../pages/Subscriptions.svelte");
const Tail = () => import("../pages/Tail.svelte");

export type View = Component<{ params: Record<string, string> }> | Component;

/** A page of the dashboard. */
export interface Page {
  /** Its path; a segment that begins with ":" stands for any one. */
  path: string;
  title: string;
  view: () => Promise<{ default: View }>;
  /** What the principal must be allowed to do; a page that it may not see is not offered. */
  needs: Action;
  /** In the side bar: its icon, and the letter that goes there after G. */
  icon?: string;
  key?: string;
  /** It begins another group in the side bar. */
  apart?: true;
}

export const pages: readonly Page[] = [
  { path: "/", title: "Overview", view: Overview, needs: "server.see", icon: "overview", key: "o" },
  { path: "/streams", title: "Streams", view: Streams, needs: "streams.list", icon: "streams", key: "s" },
  { path: "/streams/$all", title: "All events", view: All, needs: "read" },
  { path: "/streams/:stream", title: "Stream", view: Stream, needs: "read" },
  { path: "/streams/:stream/:version", title: "Event", view: Event, needs: "read" },
  { path: "/retention", title: "Retention", view: Retentions, needs: "streams.retention" },
  { path: "/tail", title: "Live tail", view: Tail, needs: "read", icon: "tail", key: "t" },
  {
    path: "/subscriptions",
    title: "Subscriptions",
    view: Subscriptions,
    needs: "subscriptions.see",
    icon: "subs",
    key: "u",
  },
  { path: "/subscriptions/:subscription", title: "Subscription", view: Subscription, needs: "subscriptions.see" },
  { path: "/plugins", title: "Plugins", view: Plugins, needs: "plugins.see", icon: "plugins", key: "p" },
  { path: "/upload", title: "Upload a plugin", view: PluginUpload, needs: "plugins.upload" },
  { path: "/plugins/:plugin", title: "Plugin", view: Plugin, needs: "plugins.see" },
  {
    path: "/projections",
    title: "Projections",
    view: Projections,
    needs: "plugins.state",
    icon: "proj",
    key: "j",
  },
  { path: "/cluster", title: "Cluster", view: Cluster, needs: "cluster.see", icon: "cluster", key: "c", apart: true },
  { path: "/access", title: "Access", view: Access, needs: "keys.manage", icon: "access", key: "a" },
  { path: "/settings", title: "Settings", view: Settings, needs: "server.see", icon: "settings", key: "e" },
  { path: "/start", title: "Getting started", view: Start, needs: "server.see" },
];

const missing: Page = { path: "", title: "Not found", view: Missing, needs: "connect" };

/** The page at a path, and what stands at its places. */
export function pageAt(path: readonly string[]): { page: Page; params: Record<string, string> } {
  for (const page of pages) {
    const params = match(page.path.split("/").slice(1), path);
    if (params !== undefined) return { page, params };
  }
  return { page: missing, params: {} };
}

function match(pattern: readonly string[], path: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== path.length) return undefined;
  const params: Record<string, string> = {};
  for (const [i, want] of pattern.entries()) {
    const have = path[i] as string;
    if (want.startsWith(":") && have !== "") params[want.slice(1)] = have;
    else if (want !== have) return undefined;
  }
  return params;
}
