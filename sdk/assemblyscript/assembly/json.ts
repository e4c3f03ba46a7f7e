// A small reader and writer of JSON. What is read is trusted to be JSON, as the data of events is; of any other text it
// makes something, but reads nothing that is not there.

function isSpace(c: i32): bool {
  return c == 0x20 || c == 0x0a || c == 0x09 || c == 0x0d;
}

function skipSpace(text: string, at: i32): i32 {
  while (at < text.length && isSpace(text.charCodeAt(at))) at++;
  return at;
}

/** The place behind a string that begins at a quote. */
function skipString(text: string, at: i32): i32 {
  for (at++; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c == 0x5c) at++;
    else if (c == 0x22) return at + 1;
  }
  return text.length;
}

/** The place behind a value. */
function skipValue(text: string, at: i32): i32 {
  let depth = 0;
  while (at < text.length) {
    const c = text.charCodeAt(at);
    if (c == 0x22) {
      at = skipString(text, at);
    } else if (c == 0x7b || c == 0x5b) {
      depth++;
      at++;
    } else if (depth == 0 && (c == 0x7d || c == 0x5d || c == 0x2c || c == 0x3a || isSpace(c))) {
      return at;
    } else {
      at++;
      if (c != 0x7d && c != 0x5d) continue; // a literal goes on
      depth--;
    }
    if (depth == 0) return at;
  }
  return text.length;
}

/** A JSON value, or nothing. */
export class Json {
  /** The text of the value, empty if there is none. */
  raw: string;

  constructor(text: string) {
    const begin = skipSpace(text, 0);
    this.raw = text.substring(begin, skipValue(text, begin));
  }

  /** Whether there is a value. Null is one. */
  get exists(): bool {
    return this.raw.length > 0;
  }

  get isString(): bool {
    return this.raw.length > 1 && this.raw.charCodeAt(0) == 0x22 && this.raw.charCodeAt(this.raw.length - 1) == 0x22;
  }

  /** A string, or an empty one. */
  get text(): string {
    return this.isString ? unescape(this.raw.substring(1, this.raw.length - 1)) : "";
  }

  get isBool(): bool {
    return this.raw == "true" || this.raw == "false";
  }

  /** A boolean, or false. */
  get bool(): bool {
    return this.raw == "true";
  }

  /** Whether it is a whole number that fits, written without an exponent. */
  get isInt(): bool {
    return this.digits() > 0;
  }

  /** A whole number, or 0. */
  get int(): i64 {
    const end = this.digits();
    return end > 0 ? I64.parseInt(this.raw.substring(0, end)) : 0;
  }

  /** A number, or NaN. */
  get float(): f64 {
    const c = this.exists ? this.raw.charCodeAt(0) : 0;
    return c == 0x2d || (c >= 0x30 && c <= 0x39) ? F64.parseFloat(this.raw) : NaN;
  }

  /** The length of a whole number without its fraction of zeros, or 0. */
  private digits(): i32 {
    const negative = this.exists && this.raw.charCodeAt(0) == 0x2d;
    const most: u64 = (i64.MAX_VALUE as u64) + (negative ? 1 : 0);
    const begin = negative ? 1 : 0;
    let at = begin;
    let sum: u64 = 0;
    for (; at < this.raw.length; at++) {
      const digit = (this.raw.charCodeAt(at) - 0x30) as u32;
      if (digit > 9) break;
      if (sum > (most - digit) / 10) return 0;
      sum = sum * 10 + digit;
    }
    const end = at;
    if (at > begin && at + 1 < this.raw.length && this.raw.charCodeAt(at) == 0x2e) {
      for (at++; at < this.raw.length && this.raw.charCodeAt(at) == 0x30; ) at++;
    }
    return end > begin && at == this.raw.length ? end : 0;
  }

  /** The member of an object, the first if several have the name. */
  get(name: string): Json {
    const members = new Items(this.raw, 0x7b);
    for (let key = members.next(); key !== null; key = members.next()) {
      const value = members.value();
      if (value === null) break;
      if (key.text == name) return value;
    }
    return new Json("");
  }

  /** The elements of an array, in their order. */
  get elements(): Json[] {
    const list = new Array<Json>();
    const items = new Items(this.raw, 0x5b);
    for (let item = items.next(); item !== null; item = items.next()) list.push(item);
    return list;
  }

  /** The names of an object's members, in their order. */
  get names(): string[] {
    const list = new Array<string>();
    const members = new Items(this.raw, 0x7b);
    for (let key = members.next(); key !== null; key = members.next()) {
      if (members.value() === null) break;
      list.push(key.text);
    }
    return list;
  }
}

/** The values in a container, one after the other. */
class Items {
  private at: i32;

  constructor(
    private text: string,
    open: i32,
  ) {
    this.at = text.length > 0 && text.charCodeAt(0) == open ? 1 : text.length;
  }

  next(): Json | null {
    let begin = skipSpace(this.text, this.at);
    if (begin < this.text.length && this.text.charCodeAt(begin) == 0x2c) begin = skipSpace(this.text, begin + 1);
    this.at = skipValue(this.text, begin);
    return this.at > begin ? new Json(this.text.substring(begin, this.at)) : null;
  }

  /** The value behind a name. */
  value(): Json | null {
    this.at = skipSpace(this.text, this.at);
    if (this.at >= this.text.length || this.text.charCodeAt(this.at) != 0x3a) return null;
    this.at++;
    return this.next();
  }
}

function unescape(text: string): string {
  if (!text.includes("\\")) return text;
  let out = "";
  for (let at = 0; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c != 0x5c || at + 1 == text.length) {
      out += String.fromCharCode(c);
      continue;
    }
    const escape = text.charCodeAt(++at);
    if (escape == 0x75) {
      const code = hex4(text, at + 1);
      out += String.fromCharCode(code < 0 ? 0xfffd : code);
      if (code >= 0) at += 4;
    } else {
      out += String.fromCharCode(plain(escape));
    }
  }
  return wellFormed(out);
}

/** What a character stands for behind a backslash. */
function plain(c: i32): i32 {
  if (c == 0x62) return 8;
  if (c == 0x66) return 12;
  if (c == 0x6e) return 10;
  if (c == 0x72) return 13;
  if (c == 0x74) return 9;
  return c;
}

/** Four hexadecimal digits, or -1. */
function hex4(text: string, at: i32): i32 {
  if (at + 4 > text.length) return -1;
  let n = 0;
  for (let i = 0; i < 4; i++) {
    const c = text.charCodeAt(at + i);
    const lower = c | 0x20;
    let digit = -1;
    if (c >= 0x30 && c <= 0x39) digit = c - 0x30;
    else if (lower >= 0x61 && lower <= 0x66) digit = lower - 0x61 + 10;
    if (digit < 0) return -1;
    n = (n << 4) | digit;
  }
  return n;
}

/** A text in which half a surrogate pair is U+FFFD. */
function wellFormed(text: string): string {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    const isPair = (c & 0xfc00) == 0xd800 && i + 1 < text.length && (text.charCodeAt(i + 1) & 0xfc00) == 0xdc00;
    if (isPair) {
      out += text.substring(i, i + 2);
      i++;
    } else {
      out += String.fromCharCode((c & 0xf800) == 0xd800 ? 0xfffd : c);
    }
  }
  return out;
}

/** A text as a JSON string. */
export function quote(text: string): string {
  let out = '"';
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c == 0x22 || c == 0x5c) out += "\\" + String.fromCharCode(c);
    else if (c < 0x20) out += "\\u00" + (c >> 4).toString(16) + (c & 15).toString(16);
    else out += String.fromCharCode(c);
  }
  return out + '"';
}

/** Writes a JSON object. */
export class JsonObject {
  private members: string = "";

  /** Adds a string. */
  text(name: string, value: string): JsonObject {
    return this.raw(name, quote(value));
  }

  /** Adds a whole number. */
  int(name: string, value: i64): JsonObject {
    return this.raw(name, value.toString());
  }

  /** Adds a number. One that JSON does not have is null. */
  float(name: string, value: f64): JsonObject {
    return this.raw(name, isFinite(value) ? value.toString() : "null");
  }

  /** Adds a boolean. */
  bool(name: string, value: bool): JsonObject {
    return this.raw(name, value ? "true" : "false");
  }

  /** Adds a value that is JSON. An empty one is null. */
  raw(name: string, json: string): JsonObject {
    const value = json.length > 0 ? json : "null";
    this.members += (this.members.length > 0 ? "," : "") + quote(name) + ":" + value;
    return this;
  }

  /** The text of the object. */
  toString(): string {
    return "{" + this.members + "}";
  }
}
