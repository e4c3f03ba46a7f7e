import { GyreError } from "@gyre-events/client";
import { asking } from "./ask.svelte.js";
import { live } from "./live.svelte.js";
import { go, to } from "./router.svelte.js";

/** Opens the event at a position. */
export async function open(position: number): Promise<void> {
  await asking.do(async () => {
    const page = await live.client?.read("$all", { from: position, limit: 1 });
    const e = page?.events[0];
    if (e?.position !== position) throw new GyreError("event_not_found", `no event is at position ${position}`);
    go(to("streams", e.stream, e.version));
  });
}
