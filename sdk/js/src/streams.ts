import type { StreamInfo } from "./client.js";
import type { Limits } from "./connection.js";
import type { Expect } from "./errors.js";
import { pathOf, type Requests } from "./requests.js";

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
}
