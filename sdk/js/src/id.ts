import { GyreError } from "./errors.js";

const hex = Array.from({ length: 256 }, (_, i) => (i + 256).toString(16).slice(1));

// The last id's time and its number within that millisecond: ids of one page or
// process sort in the order they were made in.
let lastMs = 0;
let counter = 0;

/** Makes a UUIDv7, in the canonical form. Ids made one after another sort in that order. */
export function newId(): string {
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    counter = 0;
  } else if (++counter > 0xfff) {
    lastMs++;
    counter = 0;
  }
  const b = crypto.getRandomValues(new Uint8Array(16));
  const v = new DataView(b.buffer);
  v.setUint32(0, Math.floor(lastMs / 0x10000));
  v.setUint16(4, lastMs % 0x10000);
  v.setUint16(6, 0x7000 | counter);
  b[8] = ((b[8] as number) & 0x3f) | 0x80;
  return formatId(b);
}

/** The canonical form of 16 bytes. */
export function formatId(b: Uint8Array): string {
  let s = "";
  for (let i = 0; i < 16; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) s += "-";
    s += hex[b[i] as number];
  }
  return s;
}

/** The bytes of the canonical form, in either case. Anything else is invalid_event_id. */
export function parseId(s: string): Uint8Array {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(s) || /^[0-]*$/.test(s)) {
    throw new GyreError("invalid_event_id", `${JSON.stringify(s)} is not a UUID`);
  }
  const digits = s.replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}
