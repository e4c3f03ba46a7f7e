import type { KnownErrorCode } from "./codes.js";

/** A code of the catalogue, or one of a newer server. */
export type ErrorCode = KnownErrorCode | (string & Record<never, never>);

/** An expected version: a number (0 = the stream is empty or absent), or a word. */
export type Expect = number | "any" | "no_stream" | "stream_exists";

/** What an error says beside its code and detail, each where the code has use for it. */
export interface ErrorFields {
  /** The stream that it is about. */
  readonly stream?: string;
  /** Of wrong_expected_version and progress_conflict: what the append expected. */
  readonly expected?: Expect;
  /** Of the same: the version that the stream is at, or the stored position, 0 if there is none. */
  readonly actual?: number;
  /** Of duplicate_event and event_not_found. */
  readonly eventId?: string;
  /** Which append or check of a transaction, from 0. */
  readonly element?: number;
  /** Of the *_too_large and too_many_* codes. */
  readonly limit?: number;
  /** Of overloaded: do not try again sooner. */
  readonly retryAfterMs?: number;
  /** Of unexpected_ack: which of the positions were not in flight. */
  readonly positions?: readonly number[];
  /** Of unexpected_ack, where an answer named events by versions: which were not in flight. */
  readonly versions?: readonly number[];
  /** Of duplicate_event: the events and links that their streams have already, numbered from 0 over all appends. */
  readonly known?: readonly number[];
  /** What the code means, in one line. */
  readonly title?: string;
  /** What to do. */
  readonly fix?: string;
  /** The HTTP status of the code. */
  readonly status?: number;
}

/** The error object of the protocol. */
export interface ErrorObject extends ErrorFields {
  readonly code: ErrorCode;
  readonly detail?: string;
  readonly retryable?: boolean;
}

// Of the codes that this side gives itself, those where the same request may
// succeed later, unchanged. What a server answers says it itself.
const retryable: ReadonlySet<string> = new Set<KnownErrorCode>([
  "canceled",
  "timeout",
  "too_many_requests",
  "unavailable",
  "unknown_outcome",
]);

/**
 * Every error of this package. Branch on `code`:
 *
 * ```ts
 * catch (e) {
 *   if (GyreError.is(e, "wrong_expected_version")) retryFrom(e.actual);
 *   else throw e;
 * }
 * ```
 */
export class GyreError extends Error implements ErrorFields {
  override readonly name: string = "GyreError";
  /** What kind of error it is. Stable. */
  readonly code: ErrorCode;
  /** What happened, with values; for people. */
  readonly detail: string;
  /** Whether the same request may succeed later, unchanged. */
  readonly retryable: boolean;
  declare readonly stream?: string;
  declare readonly expected?: Expect;
  declare readonly actual?: number;
  declare readonly eventId?: string;
  declare readonly element?: number;
  declare readonly limit?: number;
  declare readonly retryAfterMs?: number;
  declare readonly positions?: readonly number[];
  declare readonly versions?: readonly number[];
  declare readonly known?: readonly number[];
  declare readonly title?: string;
  declare readonly fix?: string;
  declare readonly status?: number;

  constructor(code: ErrorCode, detail: string, fields?: Partial<ErrorObject> & { cause?: unknown }) {
    super(`${code}: ${detail}`, fields && "cause" in fields ? { cause: fields.cause } : undefined);
    const { cause: _, ...others } = fields ?? {};
    Object.assign(this, others);
    this.code = code;
    this.detail = detail;
    this.retryable = fields?.retryable ?? retryable.has(code);
  }

  /** Whether a caught value is a GyreError, of one of the codes if any are named. */
  static is(e: unknown, ...codes: ErrorCode[]): e is GyreError {
    return e instanceof GyreError && (codes.length === 0 || codes.includes(e.code));
  }
}

/** The error that the server had. */
export function errorOf(o: ErrorObject): GyreError {
  return new GyreError(o.code, o.detail ?? "", o);
}

/** An error that says that the other side broke the protocol. */
export function broken(detail: string): GyreError {
  return new GyreError("protocol_error", detail);
}

/** What the end of a signal means. */
export function abortError(signal: AbortSignal): GyreError {
  const cause: unknown = signal.reason;
  return cause instanceof Error && cause.name === "TimeoutError"
    ? new GyreError("timeout", "no answer before the deadline", { cause })
    : new GyreError("canceled", "the caller gave up", { cause });
}
