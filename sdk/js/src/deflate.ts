import { broken, GyreError } from "./errors.js";

/** The codec of compressed frames, by the name that hello and DecompressionStream have for it. */
export const deflateRaw = "deflate-raw";

/** No byte of DEFLATE can stand for more: a block that says it is larger lies. */
const maxRatio = 1032;

/** Whether this platform can read compressed frames. */
export function canInflate(): boolean {
  try {
    new DecompressionStream(deflateRaw);
    return true;
  } catch {
    return false;
  }
}

/** A compressed block of raw bytes. What does not come to as many is protocol_error. */
export async function inflate(coded: Uint8Array, raw: number): Promise<Uint8Array> {
  const bad = (cause?: unknown) => new GyreError("protocol_error", "a compressed block is damaged", { cause });
  if (raw > coded.length * maxRatio) throw bad();
  const block = new Uint8Array(raw);
  const stream = new DecompressionStream(deflateRaw);
  const input = stream.writable.getWriter();
  // Errors of the input come out of the output, too, which is where they are looked at.
  input.write(coded as Uint8Array<ArrayBuffer>).catch(() => {});
  input.close().catch(() => {});
  const output = stream.readable.getReader();
  let n = 0;
  for (;;) {
    let chunk: ReadableStreamReadResult<Uint8Array>;
    try {
      chunk = await output.read();
    } catch (cause) {
      throw bad(cause);
    }
    if (chunk.done) break;
    if (n + chunk.value.length > raw) {
      output.cancel().catch(() => {});
      throw bad();
    }
    block.set(chunk.value, n);
    n += chunk.value.length;
  }
  if (n !== raw) throw broken("a compressed block is cut short");
  return block;
}
