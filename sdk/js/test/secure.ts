// What a program does with the client over TLS; test/tls.test.ts runs it, with the CA in its environment.

import { WebSocket as WS } from "ws";
import { connect, GyreError } from "../dist/index.js";

const [url = "", token = ""] = process.argv.slice(2);
try {
  const client = await connect(url, { WebSocket: WS, token, timeoutMs: 20_000 });
  await client.append("s", [
    { type: "A", data: 1 },
    { type: "A", data: "x".repeat(300_000) },
  ]);
  let followed = 0;
  for await (const _ of client.follow("s")) if (++followed === 2) break;
  const { events } = await client.read("s");
  await client.server(); // over HTTP
  await client.close();
  process.stdout.write(`${followed} followed, ${events.length} read`);
} catch (e) {
  process.stdout.write(GyreError.is(e) ? `${e.code}: ${e.message}` : `not a GyreError: ${e}`);
}
