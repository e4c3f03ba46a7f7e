import type { Client, NewEvent } from "@gyre-events/client";
import type { Admin, PluginBinding } from "@gyre-events/client/admin";

/** The manifest of the sample plugin; undefined if the dashboard was built without Go. */
declare const sampleManifest: { name: string; version: string; capabilities?: string[] } | undefined;

/** So many events are appended at once. */
const batch = 100;

interface Line extends Omit<NewEvent, "data"> {
  stream: string;
  data: unknown;
}

/** The import of the sample data, which goes on whatever is shown. */
class Import {
  /** How far it is, from 0 to 1; undefined while there is none. */
  part = $state<number>();

  /**
   * Appends the history of a repository, about 2,000 events. They have ids: a second time nothing is
   * written.
   */
  async run(client: Client): Promise<void> {
    this.part = 0;
    try {
      const lines = (await sample("events.ndjson").then((a) => a.text())).trimEnd().split("\n");
      const events = lines.map((l) => JSON.parse(l) as Line);
      for (let i = 0; i < events.length; i += batch) {
        const appends = events
          .slice(i, i + batch)
          .map(({ stream, ...event }) => ({ stream, events: [event as NewEvent] }));
        await client.transact(appends);
        this.part = Math.min(1, (i + batch) / events.length);
      }
    } finally {
      this.part = undefined;
    }
  }
}

export const importing = new Import();

/** Whether there is a sample plugin. */
export const hasPlugin = typeof sampleManifest === "object";

/** Uploads the sample plugin, a projection of changes by directory and author, and deploys it. */
export async function deploySample(operator: Admin): Promise<PluginBinding> {
  if (sampleManifest === undefined) throw new Error("the dashboard was built without it");
  const { name, version, capabilities = [] } = sampleManifest;
  const module: ArrayBuffer = await sample("directories.wasm").then((a) => a.arrayBuffer());
  await operator.plugins.upload(name, version, new Uint8Array(module), { manifest: sampleManifest });
  return operator.plugins.deploy(name, { version, grants: capabilities });
}

async function sample(name: string): Promise<Response> {
  const answer = await fetch(`/samples/${name}`, { signal: AbortSignal.timeout(30_000) });
  if (!answer.ok) throw new Error(`the node has no ${name}`);
  return answer;
}
