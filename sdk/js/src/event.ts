import { GyreError } from "./errors.js";
import { formatId, newId, parseId } from "./id.js";
import { fromBase64, textOf, toBase64, utf8, wellFormed } from "./text.js";
import { formatTime, parseTime } from "./time.js";

/** An event to append. It has data, dataText or dataBytes. */
export type NewEvent = NewEventHead &
  (
    | {
        /** Any value that JSON has. */
        data: unknown;
        dataText?: undefined;
        dataBytes?: undefined;
      }
    | {
        /** JSON, as it is to be kept: with number literals that JavaScript would change. */
        dataText: string;
        data?: undefined;
        dataBytes?: undefined;
      }
    | {
        /** Bytes that are not JSON; contentType says what they are. */
        dataBytes: Uint8Array;
        data?: undefined;
        dataText?: undefined;
      }
  );

/** What an event to append has beside its data. */
export interface NewEventHead {
  /** What happened: 1 to 256 bytes. */
  type: string;
  /**
   * A UUID, the key of idempotency: the same append with the same ids is written
   * once. Made by the client if absent.
   */
  id?: string;
  /** The event's own time, if it is not that of the append; a text is RFC 3339. */
  time?: Date | string;
  /** The media type of dataBytes. */
  contentType?: string;
  /** Any JSON object. correlation_id, causation_id and traceparent have a meaning. */
  metadata?: Readonly<Record<string, unknown>>;
}

/** Where an event was written that is read through a link. */
export interface Origin {
  stream: string;
  /** Its number in that stream. */
  version: number;
  /** Its number in the log. */
  position: number;
}

/** A recorded event in the one form it has in JSON, but for its data's literals. */
export interface EventObject {
  stream: string;
  version: number;
  position: number;
  id: string;
  type: string;
  time: string;
  recorded: string;
  data?: unknown;
  dataBase64?: string;
  contentType?: string;
  metadata: Record<string, unknown>;
  link?: Origin;
}

/** What an event is made of: as a frame has it, or as a JSON text has it. */
export interface EventParts {
  stream: string;
  version: number;
  position: number;
  type: string;
  contentType: string;
  json: boolean;
  id: Uint8Array | string;
  recorded: bigint | string;
  time: bigint | string;
  data: Uint8Array | string;
  metadata: Uint8Array | string;
  link: Origin | undefined;
}

/** A recorded event. It does not change; what takes time to decode is decoded when asked for. */
export class RecordedEvent {
  /** The stream it is in. */
  readonly stream: string;
  /** Its number in the stream: 1, 2, 3, … */
  readonly version: number;
  /** Its number in the log. */
  readonly position: number;
  /** What happened. */
  readonly type: string;
  /** The media type of its data, where it is not JSON and somebody said. */
  readonly contentType: string | undefined;
  /** Whether its data is JSON. */
  readonly isJSON: boolean;
  /**
   * Where the event was written, if it is read through a link: then stream, version,
   * position and recorded are the link's own, and the rest is the event's.
   */
  readonly link: Readonly<Origin> | undefined;
  readonly #parts: EventParts;
  #data: { value: unknown } | undefined;
  #metadata: Readonly<Record<string, unknown>> | undefined;

  /** @internal */
  constructor(parts: EventParts) {
    this.stream = parts.stream;
    this.version = parts.version;
    this.position = parts.position;
    this.type = parts.type;
    this.contentType = parts.contentType === "" ? undefined : parts.contentType;
    this.isJSON = parts.json;
    this.link = parts.link;
    this.#parts = parts;
  }

  /** @internal */
  static partsOf(e: RecordedEvent): EventParts {
    return e.#parts;
  }

  /** The id: a UUID. */
  get id(): string {
    const id = this.#parts.id;
    return typeof id === "string" ? id : formatId(id);
  }

  /** The event's own time: RFC 3339 in UTC, with up to 6 digits of a second. */
  get time(): string {
    return timeText(this.#parts.time);
  }

  /** When the server recorded it, in the same form. It never decreases with position. */
  get recorded(): string {
    return timeText(this.#parts.recorded);
  }

  /** The JSON value, parsed once; the bytes where the data is not JSON. */
  get data(): unknown {
    this.#data ??= { value: this.isJSON ? JSON.parse(this.dataText) : this.dataBytes };
    return this.#data.value;
  }

  /** The JSON as it was appended, with its number literals; other bytes as UTF-8. */
  get dataText(): string {
    const data = this.#parts.data;
    if (typeof data !== "string") return textOf(data);
    return this.isJSON ? data : textOf(fromBase64(data));
  }

  /** The bytes of the data. They may be shared with other events: do not change them. */
  get dataBytes(): Uint8Array {
    const data = this.#parts.data;
    if (typeof data !== "string") return data;
    return this.isJSON ? utf8(data) : fromBase64(data);
  }

  /** The metadata, parsed once. */
  get metadata(): Readonly<Record<string, unknown>> {
    this.#metadata ??= JSON.parse(this.metadataText) as Record<string, unknown>;
    return this.#metadata;
  }

  /** The metadata as it was appended. */
  get metadataText(): string {
    const m = this.#parts.metadata;
    return (typeof m === "string" ? m : textOf(m)) || "{}";
  }

  /** The event object of the API. JSON.stringify writes it. */
  toJSON(): EventObject {
    return {
      stream: this.stream,
      version: this.version,
      position: this.position,
      id: this.id,
      type: this.type,
      time: this.time,
      recorded: this.recorded,
      ...(this.isJSON ? { data: this.data } : { dataBase64: toBase64(this.dataBytes) }),
      ...(this.contentType === undefined ? {} : { contentType: this.contentType }),
      metadata: this.metadata,
      ...(this.link === undefined ? {} : { link: this.link }),
    };
  }
}

function timeText(t: bigint | string): string {
  return typeof t === "string" ? t : formatTime(t);
}

/** A new event as both encodings need it. Absent is what is "". */
export interface PreparedEvent {
  id: string;
  idBytes: Uint8Array;
  type: string;
  micros: bigint | undefined;
  /** JSON text, or bytes. */
  data: string | Uint8Array;
  contentType: string;
  metadata: string;
}

/** Checks an event and makes what it lacks. What is wrong is a GyreError. */
export function prepare(e: NewEvent, index: number): PreparedEvent {
  try {
    const id = e.id ?? newId();
    const contentType = wellFormed(e.contentType ?? "", "invalid_content_type", "the content type");
    const json = e.dataBytes === undefined;
    return {
      id: id.toLowerCase(),
      idBytes: parseId(id),
      type: wellFormed(e.type, "invalid_event_type", "the type"),
      micros: e.time === undefined ? undefined : parseTime(e.time),
      data: e.dataBytes ?? jsonOf(e),
      contentType: json && contentType === "application/json" ? "" : contentType,
      metadata: metadataOf(e),
    };
  } catch (err) {
    if (!(err instanceof GyreError)) throw err;
    throw new GyreError(err.code, `event ${index}: ${err.detail}`, { cause: err });
  }
}

function jsonOf(e: NewEvent): string {
  const bad = (detail: string, cause?: unknown) => new GyreError("invalid_data", detail, { cause });
  if (e.dataText === undefined) {
    let text: string | undefined;
    try {
      text = JSON.stringify(e.data);
    } catch (cause) {
      throw bad("data is not a value that JSON has", cause);
    }
    if (text === undefined) throw bad("an event has data, dataText or dataBytes; null is a value");
    return text;
  }
  try {
    JSON.parse(e.dataText);
  } catch (cause) {
    throw bad("dataText is not one valid JSON value", cause);
  }
  return wellFormed(e.dataText, "invalid_data", "dataText");
}

function metadataOf(e: NewEvent): string {
  if (e.metadata === undefined) return "";
  let text: string | undefined;
  try {
    text = JSON.stringify(e.metadata);
  } catch (cause) {
    throw new GyreError("invalid_metadata", "metadata is not JSON", { cause });
  }
  if (text?.[0] !== "{") throw new GyreError("invalid_metadata", "metadata is not an object");
  return text === "{}" ? "" : text;
}
