import type { GyreError } from "@gyre-events/client";

/** What to do about errors that the client finds out by itself; the node says it in its own. */
const own: Readonly<Record<string, string>> = {
  unavailable: "Check that the node runs and that this machine reaches it. The page goes on when it answers.",
  timeout: "Try again. If it stays so, the node has too much to do, or its disk does not answer: see its log.",
  unknown_outcome: "Look whether it was written before you send it again. With the same event id it is written once.",
  internal: "Load the page again. If it stays so, report it with what stands here.",
  event_not_found: "Open the stream, and choose one of the versions that it has.",
};

/** What a person can do about an error. */
export function fixOf(error: GyreError): string {
  return error.fix ?? own[error.code] ?? "Try again. If it stays so, its page below says more.";
}
