import { Action, Batch, Errno, Event, Verdict, errorText, maxMessageBytes } from "./abi";
import { Context, Level, Pure, View, log } from "./context";
import * as host from "./imports";
import { Outcome, retry } from "./outcome";

/** A function that handles events. */
export type Handler = (c: Context, e: Event) => Outcome;

/** A function that judges events: a filter, a map, a partitioner or a validator. */
export type Judge = (p: Pure, e: Event) => Outcome;

// With the runtime "minimal" garbage is collected here only: before a batch, and between events when memory has
// grown. Nothing is on the stack then but what these variables keep.
let current: Batch | null = null;
let context: Context | null = null;
const pure: Pure = new Pure();
let pages: i32 = 0;

const morePages = 64; // 4 MiB

function collect(): void {
  __collect();
  pages = memory.size();
}

function readBatch(length: i32): Batch {
  current = null;
  context = null;
  collect();
  const bytes = new ArrayBuffer(length);
  host.batch_read(0, changetype<usize>(bytes), length); // what it does not fill is corrupt
  const batch = new Batch(bytes);
  current = batch;
  return batch;
}

function endEvent(): void {
  if (memory.size() > pages + morePages) collect();
}

function endBatch(batch: Batch): i32 {
  if (!batch.isCorrupt) return Verdict.Done;
  log(Level.Error, "corrupt batch");
  return Verdict.Failed;
}

function answer(index: i32, outcome: Outcome): void {
  if (outcome.text.length == 0) {
    host.event_result(index, outcome.action, outcome.delayMs, 0, 0);
    return;
  }
  const text = String.UTF8.encode(outcome.text);
  const isReason = outcome.action == Action.Park || outcome.action == Action.Retry;
  const length = isReason ? min(text.byteLength, maxMessageBytes) : text.byteLength;
  host.event_result(index, outcome.action, outcome.delayMs, changetype<usize>(text), length);
}

/**
 * Hands a batch to a handler, up to the first event that is not done. It is what the export gyre_handle of a
 * module is made of:
 *
 *     export function gyre_handle(length: i32, _count: i32, _attempt: i32): i32 {
 *       return runHandler(length, count);
 *     }
 */
export function runHandler(length: i32, handler: Handler): i32 {
  const batch = readBatch(length);
  const c = new Context();
  context = c;
  let index = 0;
  for (let e = batch.next(); e !== null; e = batch.next()) {
    host.event_begin(index);
    c.error = Errno.Ok;
    let outcome = handler(c, e);
    if (outcome.action == Action.Ack && c.error != Errno.Ok) outcome = retry(0, errorText(c.error));
    if (outcome.action == Action.Stop) {
      log(Level.Error, outcome.text);
      return Verdict.Stop;
    }
    if (outcome.action != Action.Ack) answer(index, outcome);
    if (outcome.action == Action.Retry || outcome.action == Action.Park) return Verdict.Done;
    index++;
    endEvent();
  }
  return endBatch(batch);
}

/** Hands a batch to a judge. It is what gyre_filter, gyre_map, gyre_partition and gyre_validate are made of. */
export function runJudge(length: i32, judge: Judge): i32 {
  const batch = readBatch(length);
  let index = 0;
  for (let e = batch.next(); e !== null; e = batch.next()) {
    host.event_begin(index);
    const outcome = judge(pure, e);
    // A judge has no other way to fail than to park the event.
    if (outcome.action == Action.Retry || outcome.action == Action.Stop) outcome.action = Action.Park;
    answer(index, outcome);
    index++;
    endEvent();
  }
  return endBatch(batch);
}

/** A function that answers queries, with answer(json); park(why) is an error. */
export type Query = (v: View, query: string) => Outcome;

/**
 * Answers a query, a text of at most 64 KiB that means what the plugin says, from the state of a lane. The answer has
 * at most 1 MiB; people and other programs expect JSON. It is what the export gyre_query(length: i32): i32 of a
 * projection or a handler is made of.
 */
export function runQuery(length: i32, query: Query): i32 {
  current = null;
  context = null;
  collect();
  const bytes = new ArrayBuffer(length);
  host.batch_read(0, changetype<usize>(bytes), length);
  const view = new View();
  const outcome = query(view, String.UTF8.decode(bytes));
  if (outcome.action == Action.Ack && view.context.error != Errno.Ok) outcome.fail(errorText(view.context.error));
  const isAnswer = outcome.action == Action.Ack;
  if (!isAnswer) outcome.action = Action.Park;
  answer(0, outcome);
  return isAnswer ? Verdict.Done : Verdict.Failed;
}
