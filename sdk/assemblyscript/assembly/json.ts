// A small reader and writer of JSON. What is read is trusted to be JSON, as the data of events is; of any other text it
// makes something, but reads nothing that is not there.

/** The character of a text at a place, or 0 behind its end. */
// @ts-ignore: decorator
@inline
function char(text: string, at: i32): i32 {
  return at < text.length ? load<u16>(changetype<usize>(text) + (<usize>at << 1)) : 0;
}

function isSpace(c: i32): bool {
  return c == 0x20 || c == 0x0a || c == 0x09 || c == 0x0d;
}

function skipSpace(text: string, at: i32): i32 {
  while (isSpace(char(text, at))) at++;
  return at;
}

/** The place behind a string that begins at a quote. */
function skipString(text: string, at: i32): i32 {
  for (at++; at < text.length; at++) {
    const c = char(text, at);
    if (c == 0x5c) at++;
    else if (c == 0x22) return at + 1;
  }
  return text.length;
}

/** The place behind a value. */
function skipValue(text: string, at: i32): i32 {
  let depth = 0;
  while (at < text.length) {
    const c = char(text, at);
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
  private begin: i32;
  private end: i32;

  constructor(
    private json: string,
    begin: i32 = 0,
  ) {
    this.begin = skipSpace(json, begin);
    this.end = skipValue(json, this.begin);
  }

  /** The text of the value, empty if there is none. */
  get raw(): string {
    return this.json.substring(this.begin, this.end);
  }

  /** Whether there is a value. Null is one. */
  get exists(): bool {
    return this.end > this.begin;
  }

  private get first(): i32 {
    return this.exists ? char(this.json, this.begin) : 0;
  }

  /** Whether the value is this text. */
  private is(text: string): bool {
    if (this.end - this.begin != text.length) return false;
    for (let i = 0; i < text.length; i++) {
      if (char(this.json, this.begin + i) != char(text, i)) return false;
    }
    return true;
  }

  get isString(): bool {
    return this.end - this.begin > 1 && this.first == 0x22 && char(this.json, this.end - 1) == 0x22;
  }

  /** A string, or an empty one. */
  get text(): string {
    return this.isString ? unescape(this.json.substring(this.begin + 1, this.end - 1)) : "";
  }

  get isBool(): bool {
    return this.is("true") || this.is("false");
  }

  /** A boolean, or false. */
  get bool(): bool {
    return this.is("true");
  }

  /** Whether it is a whole number that fits, written without an exponent. */
  get isInt(): bool {
    return this.digits() > 0;
  }

  /** A whole number, or 0. */
  get int(): i64 {
    const end = this.digits();
    return end > 0 ? I64.parseInt(this.json.substring(this.begin, end)) : 0;
  }

  /** A number, or NaN. */
  get float(): f64 {
    const c = this.first;
    return c == 0x2d || (c >= 0x30 && c <= 0x39) ? F64.parseFloat(this.raw) : NaN;
  }

  /** The place behind a whole number without its fraction of zeros, or 0. */
  private digits(): i32 {
    const negative = this.first == 0x2d;
    const most: u64 = (i64.MAX_VALUE as u64) + (negative ? 1 : 0);
    const begin = this.begin + (negative ? 1 : 0);
    let at = begin;
    let sum: u64 = 0;
    for (; at < this.end; at++) {
      const digit = (char(this.json, at) - 0x30) as u32;
      if (digit > 9) break;
      if (sum > (most - digit) / 10) return 0;
      sum = sum * 10 + digit;
    }
    const end = at;
    if (at > begin && at + 1 < this.end && char(this.json, at) == 0x2e) {
      for (at++; at < this.end && char(this.json, at) == 0x30; ) at++;
    }
    return end > begin && at == this.end ? end : 0;
  }

  /** The member of an object, the first if several have the name. */
  get(name: string): Json {
    const members = new Items(this.json, this.begin, this.end, 0x7b);
    while (members.skip()) {
      const begin = members.begin;
      const end = members.after;
      if (!members.colon()) break;
      if (isName(this.json, begin, end, name)) {
        const value = members.next();
        return value === null ? new Json("") : value;
      }
      members.skip();
    }
    return new Json("");
  }

  /** The elements of an array, in their order. */
  get elements(): Json[] {
    const list = new Array<Json>();
    const items = new Items(this.json, this.begin, this.end, 0x5b);
    for (let item = items.next(); item !== null; item = items.next()) list.push(item);
    return list;
  }

  /** The names of an object's members, in their order. */
  get names(): string[] {
    const list = new Array<string>();
    const members = new Items(this.json, this.begin, this.end, 0x7b);
    for (let key = members.next(); key !== null; key = members.next()) {
      if (members.value() === null) break;
      list.push(key.text);
    }
    return list;
  }
}

/** The values in a container, one after the other. */
class Items {
  /** Where the value begins that was skipped last, and the place behind it. */
  begin: i32 = 0;
  after: i32;

  constructor(
    private text: string,
    at: i32,
    private end: i32,
    open: i32,
  ) {
    this.after = at < end && char(text, at) == open ? at + 1 : end;
  }

  /** Goes over the next value. It is false at the end. */
  skip(): bool {
    let begin = skipSpace(this.text, this.after);
    if (begin < this.end && char(this.text, begin) == 0x2c) begin = skipSpace(this.text, begin + 1);
    if (begin >= this.end) return false;
    this.begin = begin;
    this.after = skipValue(this.text, begin);
    return this.after > begin;
  }

  next(): Json | null {
    return this.skip() ? new Json(this.text, this.begin) : null;
  }

  /** Goes over the colon behind a name. It is false if there is none. */
  colon(): bool {
    this.after = skipSpace(this.text, this.after);
    if (this.after >= this.end || char(this.text, this.after) != 0x3a) return false;
    this.after++;
    return true;
  }

  /** The value behind a name. */
  value(): Json | null {
    return this.colon() ? this.next() : null;
  }
}

/** Whether a quoted name stands for a name. */
function isName(text: string, begin: i32, end: i32, name: string): bool {
  if (char(text, begin) != 0x22 || end - begin < name.length + 2) return false;
  let isSame = end - begin == name.length + 2;
  for (let i = 0; isSame && i < name.length; i++) isSame = char(text, begin + 1 + i) == char(name, i);
  if (isSame) return true;
  for (let at = begin; at < end; at++) {
    if (char(text, at) == 0x5c) return unescape(text.substring(begin + 1, end - 1)) == name;
  }
  return false;
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
