/**
 * What operators do with a node of Gyre: named subscriptions, plugins, the ring, keys.
 *
 * ```ts
 * import { connect } from "@gyre-events/client";
 * import { admin } from "@gyre-events/client/admin";
 *
 * const operator = admin(await connect("http://127.0.0.1:4973"));
 * for await (const s of operator.subscriptions.list()) console.log(s.name, s.lag);
 * ```
 *
 * The types of what is sent and answered are those of the node's /openapi.json.
 *
 * @packageDocumentation
 */
import { type Client, linkOf } from "./client.js";
import { Cluster } from "./cluster.js";
import { exactOf } from "./exact.js";
import { Keys } from "./keys.js";
import { Node } from "./node.js";
import { Plugins } from "./plugins.js";
import { Places } from "./progress.js";
import { Requests } from "./requests.js";
import { Streams } from "./streams.js";
import { Subscriptions } from "./subscriptions.js";

export { Cluster, type OwnedOptions, type Whose } from "./cluster.js";
export type {
  PluginBinding,
  PluginContent,
  PluginDeed,
  PluginDeploy,
  PluginDifference,
  PluginDifferences,
  PluginDryRunResult,
  PluginListed,
  PluginManifest,
  PluginOutput,
  PluginPoisonEvent,
  PluginPoisonTrial,
  PluginShadowReport,
  PluginStateChange,
  PluginStateDiff,
  PluginStep,
  PluginSteps,
  PluginTrial,
  PluginVersion,
} from "./exact.js";
export { Keys, type May } from "./keys.js";
export { type CountOptions, Node } from "./node.js";
export {
  type PluginAnswer,
  type PluginDryRunOptions,
  type PluginEntry,
  type PluginLogOptions,
  type PluginReadOptions,
  type PluginStateOptions,
  Plugins,
  type PluginUploadOptions,
  type PluginWatchMessage,
  type PluginWatchOptions,
} from "./plugins.js";
export { Places } from "./progress.js";
export type { NamedOptions } from "./requests.js";
export type {
  Categories,
  CategoryCount,
  Definition,
  Failure,
  Key,
  MadeKey,
  NewKey,
  Owned,
  OwnedPage,
  Parked,
  Place,
  PluginAbi,
  PluginDryRun,
  PluginDryRunProgress,
  PluginFailedTry,
  PluginLimits,
  PluginLogLine,
  PluginPoison,
  PluginPoisonRetry,
  PluginShadowStatus,
  PluginTally,
  PluginTotals,
  Principal,
  Retention,
  RetentionPolicy,
  RingMember,
  RingMembers,
  RingMove,
  RingSeen,
  RingStatus,
  RingView,
  Scavenge,
  ScavengeProblem,
  ScavengeRequest,
  Selection,
  Server,
  Setting,
  Settings,
  Stats,
  Subscription,
  TypeCount,
  Types,
  Whereabouts,
} from "./schemas.js";
export { type ChangeStreamOptions, type DeleteStreamOptions, type RetentionOptions, type RetentionTarget, Streams } from "./streams.js";
export { type SubscriptionListOptions, Subscriptions } from "./subscriptions.js";

/**
 * Administers the store that a client is connected to, with the client's key. What changes
 * something is sent once, and rejects with unknown_outcome if it is not answered.
 */
export function admin(client: Client): Admin {
  return new Admin(client);
}

/** What {@link admin} returns. */
export class Admin {
  readonly streams: Streams;
  readonly subscriptions: Subscriptions;
  readonly plugins: Plugins;
  readonly cluster: Cluster;
  readonly progress: Places;
  readonly keys: Keys;
  readonly node: Node;

  /** @internal */
  constructor(client: Client) {
    const requests = new Requests(linkOf(client));
    this.streams = new Streams(requests);
    this.subscriptions = new Subscriptions(requests);
    this.plugins = new Plugins(new Requests(linkOf(client), exactOf));
    this.cluster = new Cluster(requests);
    this.progress = new Places(requests);
    this.keys = new Keys(requests);
    this.node = new Node(requests);
  }
}
