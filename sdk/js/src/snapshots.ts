import { type Client, linkOf } from "./client.js";
import type { Limits } from "./connection.js";
import type { RecordedSnapshot } from "./messages.js";
import { pathOf, Requests } from "./requests.js";
import type { SnapshotInfo, SnapshotState } from "./schemas.js";

export type { SnapshotInfo, SnapshotState };

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
  get(stream: string, o: SnapshotOptions = {}): Promise<RecordedSnapshot> {
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

  /** Deletes a snapshot, if there is one. */
  async delete(stream: string, o: SnapshotOptions = {}): Promise<void> {
    await this.#requests.change("DELETE", pathFor(stream, o), {}, undefined, o);
  }
}

/** What a client does with snapshots. */
export function snapshots(client: Client): Snapshots {
  return new Snapshots(new Requests(linkOf(client)));
}

function pathFor(stream: string, o: SnapshotOptions): string {
  return pathOf`/v1/streams/${stream}/snapshots/${o.kind ?? "default"}`;
}
