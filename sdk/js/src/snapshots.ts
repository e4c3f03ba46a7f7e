import { type Append, type Client, linkOf, prepareAppend, resultOf, type TransactResult } from "./client.js";
import type { Limits } from "./connection.js";
import { type Exact, exactOf } from "./exact.js";
import { type Check, elementText, type OK, type RecordedSnapshot, transactionText } from "./messages.js";
import { pathOf, Requests } from "./requests.js";
import type { SnapshotInfo, SnapshotPut, SnapshotState } from "./schemas.js";

export type { SnapshotInfo, SnapshotPut, SnapshotState };

/** A snapshot whose JSON is in dataText and metadataText, too, with its numbers as they were written. */
export type SnapshotRead = Exact<RecordedSnapshot>;

/** Which snapshot of a stream. */
export interface SnapshotOptions extends Limits {
  /** "default" if it is absent. */
  kind?: string | undefined;
}

/** How to record a snapshot. */
export interface RecordOptions extends SnapshotOptions {
  /** Whether it replaces a snapshot of a greater version, too. */
  overwrite?: boolean | undefined;
}

/** How to record snapshots with events. */
export interface TransactSnapshotsOptions extends Limits {
  /** What has to be true of other streams. */
  checks?: readonly Check[] | undefined;
}

/** The snapshots of streams. Client.read with a snapshot loads one, and the events after it. */
export class Snapshots {
  readonly #requests: Requests;

  /** @internal */
  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Goes through the snapshots of a stream, by kind, without their states. */
  list(stream: string, o: Limits = {}): AsyncGenerator<SnapshotInfo, void, undefined> {
    return this.#requests.list(pathOf`/v1/streams/${stream}/snapshots`, "snapshots", {}, o);
  }

  /** Returns a snapshot; snapshot_not_found if there is none. */
  get(stream: string, o: SnapshotOptions = {}): Promise<SnapshotRead> {
    return this.#requests.get(pathFor(stream, o), {}, o);
  }

  /**
   * Records a snapshot, and returns whether that changed something: the same again does not. One
   * of a greater version is snapshot_older.
   */
  async put(stream: string, state: SnapshotState, o: RecordOptions = {}): Promise<boolean> {
    const query = { overwrite: o.overwrite ? "true" : undefined };
    return (await this.#requests.change<{ changed: boolean }>("PUT", pathFor(stream, o), query, state, o)).changed;
  }

  /**
   * Appends to several streams, and records snapshots, all or nothing. A snapshot may be of a version
   * that is appended. Once the events are known nothing is recorded: after unknown_outcome it can be
   * repeated if its events have ids. The result names no node.
   */
  async transact(appends: readonly Append[], puts: readonly SnapshotPut[], o: TransactSnapshotsOptions = {}): Promise<TransactResult> {
    const elements = appends.map((a) => elementText(prepareAppend(a)));
    const text = `{${transactionText(elements, o.checks ?? [])},"snapshots":${JSON.stringify(puts)}}`;
    const body = new Blob([text], { type: "application/json" });
    return resultOf({ ok: await this.#requests.change<OK>("POST", "/v1/transactions", {}, body, o) }, elements.length);
  }

  /** Deletes a snapshot, and returns whether there was one. */
  async delete(stream: string, o: SnapshotOptions = {}): Promise<boolean> {
    return (await this.#requests.change("DELETE", pathFor(stream, o), {}, undefined, o)) !== undefined;
  }
}

/** What a client does with snapshots. */
export function snapshots(client: Client): Snapshots {
  return new Snapshots(new Requests(linkOf(client), exactOf));
}

function pathFor(stream: string, o: SnapshotOptions): string {
  return pathOf`/v1/streams/${stream}/snapshots/${o.kind ?? "default"}`;
}
