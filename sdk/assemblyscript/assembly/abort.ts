import { fail } from "./imports";

/**
 * How a program ends that goes wrong, such as by an index out of range: the batch fails with the message. The
 * compiler calls it, by option --use abort=….
 */
export function abortPlugin(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message === null ? "abort" : message;
  const where = file === null ? "" : ` at ${file}:${line}:${column}`;
  const text = String.UTF8.encode(what + where);
  fail(1, changetype<usize>(text), text.byteLength);
  unreachable();
}
