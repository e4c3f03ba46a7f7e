/**
 * Client of Gyre, an event store.
 *
 * ```ts
 * const gyre = await connect("http://127.0.0.1:4973");
 * await gyre.append("order-42", { type: "OrderPaid", data: { amount: 10 } });
 * for await (const e of gyre.follow("$all")) console.log(e.position, e.type, e.data);
 * ```
 *
 * @packageDocumentation
 */
export {
  type Append,
  type AppendOptions,
  type AppendResult,
  Client,
  type ConnectOptions,
  connect,
  type Page,
  type ProgressInfo,
  type ReadAllOptions,
  type ReadOptions,
  type ReadRange,
  type ServerInfo,
  type StreamInfo,
  type StreamPlace,
  type StreamsOptions,
  type StreamsPage,
  type TransactOptions,
  type TransactResult,
} from "./client.js";
export type { KnownErrorCode } from "./codes.js";
export type { ConnectionState, Limits, Token } from "./connection.js";
export { type ErrorCode, type ErrorFields, type ErrorObject, type Expect, GyreError } from "./errors.js";
export { type EventObject, type NewEvent, type NewEventHead, type Origin, RecordedEvent } from "./event.js";
export { type Batch, Follow, type FollowOptions } from "./follow.js";
export { newId } from "./id.js";
export type { AckOptions, Appended, Check, Filter, From, NackAction, Progress, RecordedSnapshot, Selection } from "./messages.js";
export type { WebSocketConstructor, WebSocketEventLike, WebSocketLike } from "./session.js";
export {
  type ConsumeOptions,
  Delivery,
  type Handler,
  type NackOptions,
  Refusal,
  type SubscribeOptions,
  Subscriber,
  type SubscriptionOptions,
  type SubscriptionStatus,
} from "./subscriber.js";
