import type { StreamInfo } from "./client.js";
import type { Limits } from "./connection.js";
import type { Expect } from "./errors.js";
import { type NamedOptions, pathOf, type Requests } from "./requests.js";
import type { Retention, RetentionPolicy } from "./schemas.js";

/** Options of a change of a stream. */
export interface ChangeStreamOptions extends Limits {
  /** The version that the stream must be at; any by default. */
  expect?: Expect | undefined;
}

/** How a stream is deleted. */
export interface DeleteStreamOptions extends ChangeStreamOptions {
  /** Remove the events from the log. The next append begins the stream anew, at version 1. */
  hard?: boolean | undefined;
  /** Remove the events, and let nothing be appended to the stream again. */
  tombstone?: boolean | undefined;
}

/** What has a policy of retention: a stream, or all streams of a category, as a default. */
export type RetentionTarget = { stream: string } | { category: string };

/** Options of a change of a policy. */
export interface RetentionOptions extends Limits {
  /** The revision that the policy must have, 0 before the first one; any by default. */
  expect?: number | undefined;
}

/** Streams as wholes: what they are, and what becomes of them. */
export class Streams {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Describes a stream, or "$all"; rejects as a read of it does. */
  info(stream: string, o: Limits = {}): Promise<StreamInfo> {
    return this.#requests.get(pathOf`/v1/streams/${stream}`, {}, o);
  }

  /** Hides a stream: it can be neither read by its name nor appended to, until it is undeleted. */
  delete(stream: string, o: DeleteStreamOptions = {}): Promise<void> {
    const { expect, hard, tombstone } = o;
    return this.#requests.change("DELETE", pathOf`/v1/streams/${stream}`, { expect, hard, tombstone }, undefined, o);
  }

  /** Brings a deleted stream back, with its events; stream_not_deleted if it is not. */
  undelete(stream: string, o: ChangeStreamOptions = {}): Promise<void> {
    return this.#requests.change("POST", pathOf`/v1/streams/${stream}/undelete`, { expect: o.expect }, undefined, o);
  }

  /** Returns a policy of retention; one without bounds if there is none. */
  retention(of: RetentionTarget, o: Limits = {}): Promise<RetentionPolicy> {
    return this.#requests.get(retentionPath(of), {}, o);
  }

  /**
   * Replaces a policy. What expires by it cannot be read any more once this resolves. A
   * truncateBefore that is stored stays if it is left out.
   */
  setRetention(of: RetentionTarget, retention: Retention, o: RetentionOptions = {}): Promise<RetentionPolicy> {
    return this.#requests.change("PUT", retentionPath(of), { expect: o.expect }, retention, o);
  }

  /** Clears a policy, but for its truncateBefore, and returns what is left of it. */
  clearRetention(of: RetentionTarget, o: RetentionOptions = {}): Promise<RetentionPolicy> {
    return this.#requests.change("DELETE", retentionPath(of), { expect: o.expect }, undefined, o);
  }

  /** Lists the policies that the key may set: those of categories, then those of streams. */
  retentions(o: Omit<NamedOptions, "prefix"> = {}): AsyncGenerator<RetentionPolicy, void, undefined> {
    return this.#requests.list("/v1/retention", "policies", {}, o);
  }
}

function retentionPath(of: RetentionTarget): string {
  return "stream" in of ? pathOf`/v1/streams/${of.stream}/retention` : pathOf`/v1/retention/${of.category}`;
}
