// The bytes of batches and appended events, and the numbers of ABI gyre_1.

/** Why a call did not do what it was asked. */
export enum Errno {
  Ok = 0,
  /** An argument, such as a key that is empty. */
  Invalid = -1,
  /** The binding does not grant it. */
  Denied = -2,
  /** A key, a value or an event. */
  TooLarge = -3,
  /** No such stream, member or secret. */
  NotFound = -4,
  /** Effects of the batch, or state of the binding. */
  Quota = -5,
  Closed = -6,
  /** The stream is at another version. */
  Conflict = -7,
  IO = -8,
  /** By this version of Gyre. */
  Unsupported = -9,
}

const texts: StaticArray<string> = [
  "ok",
  "invalid argument",
  "denied",
  "too large",
  "not found",
  "over quota",
  "closed",
  "conflict",
  "input or output failed",
  "unsupported",
];

/** What an error is, in words. */
export function errorText(error: Errno): string {
  const index = -(error as i32);
  return index >= 0 && index < texts.length ? texts[index] : "unknown errno";
}

export namespace Action {
  export const Ack = 0;
  export const Retry = 1;
  export const Park = 2;
  export const Skip = 3;
  /** It is not the host's: the verdict of the batch says it. */
  export const Stop = 4;
}

export namespace Verdict {
  export const Done = 0;
  export const Stop = 3;
  export const Failed = -1;
}

export const maxMessageBytes: i32 = 4 << 10;
export const maxEffectBytes: i32 = 3584 << 10;
export const maxKeyBytes: i32 = 512;
export const maxValueBytes: i32 = 256 << 10;

const magic: u32 = 0x31425947; // GYB1
const headerBytes: u32 = 32;
const eventBytes: u32 = 64;
const appendedBytes: i32 = 32;

/** An event to handle. */
export class Event {
  /** Its place in the log. */
  position: u64 = 0;
  /** Its place in its stream. */
  version: u64 = 0;
  /** When it was recorded, in µs since 1970. */
  timeMicros: i64 = 0;
  /** 1 for the first. */
  attempt: u32 = 0;
  /** It was parked, and is handled again. */
  replay: bool = false;
  /** The data is JSON. */
  isJSON: bool = false;

  private bytes: ArrayBuffer;
  private at: i32;
  private streamAt: i32 = 0;
  private typeAt: i32 = 0;
  private dataAt: i32 = 0;
  private dataLength: i32 = 0;
  private metadataLength: i32 = 0;

  constructor(bytes: ArrayBuffer, at: i32) {
    this.bytes = bytes;
    this.at = at;
  }

  /** Decodes the event. It returns the length of its entry, or 0 if the bytes are no event. */
  decode(left: u32): u32 {
    if (left < eventBytes) return 0;
    const p = changetype<usize>(this.bytes) + this.at;
    const entry = load<u32>(p);
    const fixed = load<u16>(p, 4) as u32;
    const flags = load<u16>(p, 6);
    const stream = load<u16>(p, 48) as u32;
    const type = load<u16>(p, 50) as u32;
    const data = load<u32>(p, 52);
    const metadata = load<u32>(p, 56);
    const end = (fixed as u64) + stream + type + (data as u64) + (metadata as u64);
    if (entry > left || entry % 8 != 0 || fixed < eventBytes || end > entry) return 0;
    this.position = load<u64>(p, 8);
    this.version = load<u64>(p, 16);
    this.timeMicros = load<i64>(p, 24);
    this.attempt = load<u32>(p, 60);
    this.isJSON = (flags & 5) == 1; // JSON, and not truncated
    this.replay = (flags & 2) != 0;
    this.streamAt = this.at + fixed;
    this.typeAt = this.streamAt + stream;
    this.dataAt = this.typeAt + type;
    this.dataLength = data;
    this.metadataLength = metadata;
    return entry;
  }

  /** The stream that it is in. */
  get stream(): string {
    return this.part(this.streamAt, this.typeAt - this.streamAt);
  }

  /** What has happened. */
  get type(): string {
    return this.part(this.typeAt, this.dataAt - this.typeAt);
  }

  private part(at: i32, length: i32): string {
    return String.UTF8.decodeUnsafe(changetype<usize>(this.bytes) + at, length);
  }

  /** Its id, as a UUID is written. */
  get id(): string {
    let text = "";
    for (let i = 0; i < 16; i++) {
      if (i == 4 || i == 6 || i == 8 || i == 10) text += "-";
      const b = load<u8>(changetype<usize>(this.bytes) + this.at + i, 32);
      text += (b >> 4).toString(16) + (b & 15).toString(16);
    }
    return text;
  }

  /** How many bytes the data has. */
  get size(): i32 {
    return this.dataLength;
  }

  /** The data, whatever it is. */
  get data(): Uint8Array {
    return Uint8Array.wrap(this.bytes, this.dataAt, this.dataLength);
  }

  /** The data as text. */
  get text(): string {
    return this.part(this.dataAt, this.dataLength);
  }

  /** A JSON object, or empty. */
  get metadata(): string {
    return this.part(this.dataAt + this.dataLength, this.metadataLength);
  }
}

/** Reads the events of a batch. */
export class Batch {
  /** The bytes are not what they say. */
  isCorrupt: bool = false;
  left: u32 = 0;
  private at: u32 = 0;

  constructor(private bytes: ArrayBuffer) {
    this.isCorrupt = !this.open();
  }

  /** Reads the header. */
  private open(): bool {
    const p = changetype<usize>(this.bytes);
    const length = this.bytes.byteLength as u32;
    if (length < headerBytes || load<u32>(p) != magic || load<u16>(p, 4) != 1) return false;
    const header = load<u16>(p, 6) as u32;
    this.left = load<u32>(p, 8);
    this.at = header;
    if (header < headerBytes || header > length || load<u32>(p, 12) != length) return false;
    return this.left <= (length - header) / eventBytes;
  }

  /** The next event, or null after the last or where the bytes are no event. */
  next(): Event | null {
    const rest = (this.bytes.byteLength as u32) - this.at;
    if (this.isCorrupt || this.left == 0) {
      this.isCorrupt = this.isCorrupt || rest > 0;
      return null;
    }
    const event = new Event(this.bytes, this.at);
    const entry = event.decode(rest);
    if (entry == 0) {
      this.isCorrupt = true;
      return null;
    }
    this.at += entry;
    this.left--;
    return event;
  }
}

/** An event to append. Its id is made by the host, the same each time the event that it comes of is handled. */
export class NewEvent {
  /** Set for data that is not JSON, instead of data. */
  bytes: Uint8Array | null = null;

  constructor(
    public type: string,
    /** JSON. */
    public data: string = "",
    /** A JSON object, or empty. */
    public metadata: string = "",
  ) {}
}

/** Encodes events to append. It returns null if they are too large. */
export function encode(events: NewEvent[]): ArrayBuffer | null {
  let size: i64 = 0;
  const parts = new Array<ArrayBuffer>();
  for (let i = 0; i < events.length; i++) {
    const e = events[i];
    const bytes = e.bytes;
    const data = bytes === null ? String.UTF8.encode(e.data) : bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    const type = String.UTF8.encode(e.type);
    const metadata = String.UTF8.encode(e.metadata);
    size += (appendedBytes as i64) + type.byteLength + data.byteLength + metadata.byteLength;
    if (type.byteLength > <i32>u16.MAX_VALUE || size > maxEffectBytes) return null;
    parts.push(type);
    parts.push(data);
    parts.push(metadata);
  }
  const encoded = new ArrayBuffer(size as i32);
  let p = changetype<usize>(encoded);
  for (let i = 0; i < events.length; i++) {
    const type = parts[3 * i];
    const data = parts[3 * i + 1];
    const metadata = parts[3 * i + 2];
    store<u32>(p, appendedBytes + type.byteLength + data.byteLength + metadata.byteLength);
    store<u16>(p, type.byteLength as u16, 4);
    store<u16>(p, events[i].bytes === null ? 0 : 1, 6);
    store<u32>(p, data.byteLength, 8);
    store<u32>(p, metadata.byteLength, 12);
    p += appendedBytes;
    p = put(p, type);
    p = put(p, data);
    p = put(p, metadata);
  }
  return encoded;
}

function put(at: usize, part: ArrayBuffer): usize {
  memory.copy(at, changetype<usize>(part), part.byteLength);
  return at + part.byteLength;
}
