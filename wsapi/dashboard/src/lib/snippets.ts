import type { RecordedEvent } from "@gyre-events/client";

/** Quotes a word for a shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** How to read an event, in each language. */
export function snippets(e: RecordedEvent): Record<string, string> {
  const name = JSON.stringify(e.stream);
  const path = `${location.origin}/v1/streams/${encodeURIComponent(e.stream)}/events?from=${e.version}&limit=1`;
  return {
    CLI: `gyre read ${quoted(e.stream)} --from ${e.version} --limit 1`,
    curl: `curl ${quoted(path)}`,
    Go: `page, err := client.Read(ctx, core.ReadRequest{Stream: ${name}, From: ${e.version}, Limit: core.Limit{Events: 1}})`,
    TypeScript: `const { events } = await gyre.read(${name}, { from: ${e.version}, limit: 1 });`,
  };
}

/** How to ask for a key of a binding's state, in each language. */
export function stateSnippets(binding: string, lane: number, lanes: number, key: string): Record<string, string> {
  const one = lanes === 1;
  const path = `${location.origin}/v1/plugins/${encodeURIComponent(binding)}/state/${encodeURIComponent(key)}`;
  const [name, text] = [JSON.stringify(binding), JSON.stringify(key)];
  return {
    CLI: `gyre plugin state ${quoted(binding)} ${quoted(key)}${one ? "" : ` --lane ${lane}`}`,
    curl: `curl ${quoted(one ? path : `${path}?lane=${lane}`)}`,
    Go: `value, err := client.Plugins().Value(ctx, ${name}, ${one ? "plugins.OnlyLane" : lane}, ${text})`,
    TypeScript: `const value = await admin(gyre).plugins.state(${name}, ${text}${one ? "" : `, { lane: ${lane} }`});`,
  };
}

/** How to create a subscription that a version of a filter, a map or a partitioner shapes. */
export function shapeSnippets(kind: string | undefined, at: string): Record<string, string> {
  const [flag, definition] = shaping(kind, at);
  const body = JSON.stringify(definition);
  return {
    CLI: `gyre subscriptions create NAME ${flag}`,
    curl: `curl -X PUT ${location.origin}/v1/subscriptions/NAME -H 'content-type: application/json' \\\n  -d ${quoted(body)}`,
    TypeScript: `await admin(gyre).subscriptions.put("NAME", ${body});`,
  };
}

function shaping(kind: string | undefined, at: string): [flag: string, definition: object] {
  if (kind === "map") return [`--map ${quoted(`plugin:${at}`)}`, { map: { plugin: at } }];
  if (kind === "partition") return [`--partition-by ${quoted(`plugin:${at}`)}`, { partitionBy: `plugin:${at}` }];
  return [`--filter-plugin ${quoted(at)}`, { filter: { plugin: at } }];
}
