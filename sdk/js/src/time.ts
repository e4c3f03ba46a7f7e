import { GyreError } from "./errors.js";

const rfc3339 = /^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:)(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)$/;

/** Microseconds since 1970 as RFC 3339 in UTC, without trailing zeros. */
export function formatTime(micros: bigint): string {
  let rest = micros % 1_000_000n;
  if (rest < 0n) rest += 1_000_000n;
  const seconds = new Date(Number((micros - rest) / 1000n)).toISOString().slice(0, 19);
  const fraction = rest.toString().padStart(6, "0").replace(/0+$/, "");
  return fraction === "" ? `${seconds}Z` : `${seconds}.${fraction}Z`;
}

/** The microseconds since 1970 of a Date or of RFC 3339; finer digits are cut off. A leap second is the first instant after it. */
export function parseTime(t: Date | string): bigint {
  if (t instanceof Date) {
    if (!Number.isNaN(t.getTime())) return BigInt(t.getTime()) * 1000n;
  } else {
    const [, date, minute, second, fraction = "", zone] = rfc3339.exec(t) ?? [];
    const leap = second === "60"; // the last of a day in UTC
    const millis = Date.parse(`${date}T${minute}${leap ? "59" : second}${zone?.toUpperCase()}`) + (leap ? 1000 : 0);
    if (!Number.isNaN(millis) && (!leap || millis % 86_400_000 === 0)) {
      return BigInt(millis) * 1000n + BigInt(fraction.slice(0, 6).padEnd(6, "0"));
    }
  }
  throw new GyreError("invalid_event_time", `${JSON.stringify(String(t))} is not a time in RFC 3339`);
}
