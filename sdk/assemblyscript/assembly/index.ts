// Plugins in AssemblyScript for Gyre: code that runs next to the log, in a sandbox. A plugin handles the events of
// a subscription. What it appends, its state and its place in the log are written together, or not at all, so each
// event has its effect once. README.md says more.

export { abortPlugin } from "./abort";
export { Errno, Event, NewEvent, errorText } from "./abi";
export { Context, Level, Pure, State, View, anyVersion, noStream, streamExists } from "./context";
export { Handler, Judge, Query, runHandler, runJudge, runQuery } from "./entry";
export { Json, JsonObject, quote } from "./json";
export { Outcome, accept, answer, data, done, drop, keep, key, park, refuse, retry, skip, stop } from "./outcome";
