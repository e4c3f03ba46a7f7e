import { isLosslessNumber, parse } from "lossless-json";

/** Longer values are not taken apart, and so many are looked at to find columns. */
const longest = 4096;
const looked = 50;
const most = 3;

/** The members of a value that fit into a cell, as they are written; undefined if it is no object. */
export function cells(text: string | undefined): Map<string, string> | undefined {
  if (text === undefined || text.length > longest || !text.trimStart().startsWith("{")) return undefined;
  const found = new Map<string, string>();
  for (const [name, value] of Object.entries(parse(text) as object)) {
    const cell = scalar(value);
    if (cell !== undefined) found.set(name, cell);
  }
  return found;
}

function scalar(value: unknown): string | undefined {
  if (isLosslessNumber(value)) return value.toString();
  if (typeof value === "string") return value;
  return typeof value === "boolean" ? String(value) : undefined;
}

/** The members that most of some values have, in their order. */
export function columnsOf(texts: readonly (string | undefined)[]): string[] {
  const first = texts.slice(0, looked);
  const times = new Map<string, number>();
  for (const text of first) {
    for (const name of cells(text)?.keys() ?? []) times.set(name, (times.get(name) ?? 0) + 1);
  }
  return [...times]
    .filter(([, n]) => n >= 0.8 * first.length)
    .map(([name]) => name)
    .slice(0, most);
}
