import type { Stats } from "@gyre-events/client/admin";

type Histogram = Stats["appends"]["seconds"];

/**
 * The value, in seconds, that a share of what was counted between two looks at a histogram does not
 * pass; undefined if there was nothing. Within a bucket the values are taken to be spread evenly.
 */
export function quantile(share: number, before: Histogram, after: Histogram): number | undefined {
  const counts = after.buckets.map((b, i) => b.count - (before.buckets[i]?.count ?? 0));
  const total = after.count - before.count;
  if (total <= 0) return undefined;
  const rank = share * total;
  let below = 0;
  let from = 0;
  for (const [i, upTo] of counts.entries()) {
    const le = after.buckets[i]?.le as number;
    if (upTo >= rank) return from + (le - from) * ((rank - below) / Math.max(1, upTo - below));
    below = upTo;
    from = le;
  }
  return from;
}
