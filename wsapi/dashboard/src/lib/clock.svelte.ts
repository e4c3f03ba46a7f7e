import { createSubscriber } from "svelte/reactivity";

let timer: ReturnType<typeof setInterval> | undefined;
const ticking = createSubscriber((update) => {
  timer = setInterval(update, 1000);
  return () => clearInterval(timer);
});

/** The time in ms; what reads it is drawn anew every second. */
export function now(): number {
  ticking();
  return Date.now();
}
