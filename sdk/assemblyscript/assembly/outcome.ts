import { Action } from "./abi";

/** What is to become of an event. The functions below make it. */
export class Outcome {
  constructor(
    public action: i32,
    public text: string = "",
    public delayMs: u32 = 0,
  ) {}

  /** Makes it one that parks the event. */
  fail(reason: string): void {
    this.action = Action.Park;
    this.text = reason;
  }
}

/** Of every kind of plugin: sets the event aside with the reason; those after it go on. */
export function park(reason: string): Outcome {
  return new Outcome(Action.Park, reason);
}

/** Of handlers: the event is done. */
export function done(): Outcome {
  return new Outcome(Action.Ack);
}

/** Of handlers: the event is done, and counted as skipped. */
export function skip(): Outcome {
  return new Outcome(Action.Skip, "skipped");
}

/**
 * Of handlers: drops what was done for the event. It is tried again after a time, or after the backoff of the
 * binding if that is 0.
 */
export function retry(afterMs: u32, reason: string): Outcome {
  return new Outcome(Action.Retry, reason, afterMs);
}

/** Of handlers: stops the binding until somebody resumes it. */
export function stop(reason: string): Outcome {
  return new Outcome(Action.Stop, reason);
}

/** Of filters: the event is delivered. */
export function keep(): Outcome {
  return new Outcome(Action.Ack);
}

/** Of filters: the event is not delivered. */
export function drop(): Outcome {
  return new Outcome(Action.Skip);
}

/** Of maps: the event is delivered with this data, which is JSON. */
export function data(json: string): Outcome {
  return new Outcome(Action.Ack, json);
}

/** Of partitioners: the event belongs to this partition. */
export function key(key: string): Outcome {
  return new Outcome(Action.Ack, key);
}

/** Of validators: the event may be appended. */
export function accept(): Outcome {
  return new Outcome(Action.Ack);
}

/** Of validators: the event must not be appended. Who appends it gets the reason. */
export function refuse(reason: string): Outcome {
  return new Outcome(Action.Park, reason);
}

/** Of queries: the answer. */
export function answer(json: string): Outcome {
  return new Outcome(Action.Ack, json);
}
