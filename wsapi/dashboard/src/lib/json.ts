import type { RecordedEvent } from "@gyre-events/client";
import { parse, stringify } from "lossless-json";

/** Beyond so many characters text is cut, until all of it is asked for. */
export const longText = 64 << 10;

/** JSON on lines, with its numbers as they were written; the text itself, if it is no JSON. */
export function pretty(text: string): string {
  try {
    return stringify(parse(text), undefined, 2) ?? text;
  } catch {
    return text;
  }
}

/** The event object of the API on one line, with its numbers as they were written. */
export function objectText(e: RecordedEvent): string {
  const data = e.isJSON ? { data: parse(e.dataText) } : {};
  return stringify({ ...e.toJSON(), ...data, metadata: parse(e.metadataText) }) as string;
}

/** A piece of a line of JSON: k is a key, q a string, m any other value. */
export interface Piece {
  kind: "k" | "q" | "m" | "";
  text: string;
}

const tokens = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)/g;

/** The pieces of a line that pretty has made. */
export function pieces(line: string): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  const plain = (until: number) => {
    if (until > at) found.push({ kind: "", text: line.slice(at, until) });
  };
  for (const m of line.matchAll(tokens)) {
    const [all, string, colon, other] = m;
    plain(m.index);
    if (string !== undefined) found.push({ kind: colon === undefined ? "q" : "k", text: string });
    if (colon !== undefined) found.push({ kind: "", text: colon });
    if (other !== undefined) found.push({ kind: "m", text: other });
    at = m.index + all.length;
  }
  plain(line.length);
  return found;
}
