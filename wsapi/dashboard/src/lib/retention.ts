import type { RetentionPolicy, RetentionTarget } from "@gyre-events/client/admin";

/** Units of an age, in ms. */
const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** An age as people write it: "30d", or "1500 ms" if it is no whole number of seconds. */
export function ageText(ms: number | undefined): string {
  if (ms === undefined) return "";
  for (const unit of ["d", "h", "m", "s"])
    if (ms % (units[unit] as number) === 0) return `${ms / (units[unit] as number)}${unit}`;
  return `${ms} ms`;
}

/** The ms of such a text; undefined if it is none. */
export function ageOf(text: string): number | undefined {
  const parts = /^(\d+)\s*(ms|[smhd])$/.exec(text.trim());
  return parts === null ? undefined : Number(parts[1]) * (units[parts[2] as string] ?? 1);
}

/** What a policy of a list is of. */
export function targetOf({ stream, category }: RetentionPolicy): RetentionTarget {
  return stream === undefined ? { category: category ?? "" } : { stream };
}

/** Names what has a policy. */
export function nameOf(of: RetentionTarget): string {
  return "stream" in of ? of.stream : `category ${of.category}`;
}

/** Reports whether clearing a policy changes something: truncateBefore stays. */
export function clearable({ maxAgeMs, maxCount }: RetentionPolicy): boolean {
  return maxAgeMs !== undefined || maxCount !== undefined;
}
