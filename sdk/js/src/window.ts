import { GyreError } from "./errors.js";

/** How many requests may wait for room, so that a caller that never awaits cannot use all memory. */
const maxWaiting = 100_000;

interface Waiting {
  bytes: number;
  admit: () => void;
}

/**
 * Bounds what is sent and not yet answered, in requests and in bytes. A single request
 * always fits, and those that wait are admitted in order.
 */
export class Window {
  readonly #maxCount: number;
  readonly #maxBytes: number;
  #count = 0;
  #bytes = 0;
  readonly #waiting = new Set<Waiting>();

  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = Math.max(1, maxCount);
    this.#maxBytes = maxBytes;
  }

  /** Calls admit once there is room, perhaps at once. The result gives the place back, or the wait up. */
  enter(bytes: number, admit: () => void): () => void {
    const w: Waiting = { bytes, admit };
    if (this.#waiting.size >= maxWaiting) {
      throw new GyreError("too_many_requests", `${maxWaiting} requests wait to be sent already`, { limit: maxWaiting });
    }
    this.#waiting.add(w);
    this.#admit();
    return () => {
      if (!this.#waiting.delete(w)) {
        this.#count--;
        this.#bytes -= bytes;
      }
      this.#admit();
    };
  }

  #admit(): void {
    for (const w of this.#waiting) {
      if (this.#count > 0 && (this.#count >= this.#maxCount || this.#bytes + w.bytes > this.#maxBytes)) return;
      this.#waiting.delete(w);
      this.#count++;
      this.#bytes += w.bytes;
      w.admit();
    }
  }
}
