import type { KnownErrorCode } from "./codes.js";
import { GyreError } from "./errors.js";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** UTF-8 bytes of a text. */
export function utf8(s: string): Uint8Array {
  return encoder.encode(s);
}

/** The text of UTF-8 bytes. Short ASCII, which names are, is faster without a TextDecoder. */
export function textOf(b: Uint8Array): string {
  if (b.length <= 32 && b.every((c) => c < 0x80)) return String.fromCharCode(...b);
  return decoder.decode(b);
}

/** How many bytes a text has in UTF-8. */
export function utf8Length(s: string): number {
  let n = s.length;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c >= 0x80) n += c < 0x800 || (c >= 0xd800 && c < 0xe000) ? 1 : 2;
  }
  return n;
}

/** Refuses text that has no UTF-8 form, and would silently become another. */
export function wellFormed(s: string, code: KnownErrorCode, what: string): string {
  if (/\p{Cs}/u.test(s)) throw new GyreError(code, `${what} is not well-formed Unicode`);
  return s;
}

/** Base64 with padding of bytes. */
export function toBase64(b: Uint8Array): string {
  let s = "";
  for (let i = 0; i < b.length; i += 0x2000) s += String.fromCharCode(...b.subarray(i, i + 0x2000));
  return btoa(s);
}

/** The bytes of base64. */
export function fromBase64(s: string): Uint8Array {
  return Uint8Array.from(atob(s), (c) => c.charCodeAt(0));
}

/** Where the value that begins at i ends. The text is known to be JSON. */
function skipValue(text: string, i: number): number {
  const c = text[i];
  if (c === '"') return skipString(text, i);
  if (c !== "{" && c !== "[") {
    while (i < text.length && !",]} \t\r\n".includes(text[i] as string)) i++;
    return i;
  }
  let depth = 0;
  for (; i < text.length; i++) {
    switch (text[i]) {
      case '"':
        i = skipString(text, i) - 1;
        break;
      case "{":
      case "[":
        depth++;
        break;
      case "}":
      case "]":
        if (--depth === 0) return i + 1;
    }
  }
  throw cutOff();
}

function skipString(text: string, i: number): number {
  for (;;) {
    i = text.indexOf('"', i + 1);
    if (i < 0) throw cutOff();
    let slashes = 0;
    while (text[i - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return i + 1;
  }
}

const cutOff = () => new SyntaxError("the JSON is cut off");

function skipSpace(text: string, i: number): number {
  while (" \t\r\n".includes(text[i] as string)) i++;
  return i;
}

/**
 * The values of an object's members, as they are written: JSON.parse would lose the
 * number literals. The text is known to be a JSON object.
 */
export function membersOf(text: string): Map<string, string> {
  const members = new Map<string, string>();
  let i = skipSpace(text, 0);
  do {
    const name = skipSpace(text, i + 1);
    if (text[name] === "}") return members;
    const end = skipString(text, name);
    const value = skipSpace(text, skipSpace(text, end) + 1);
    i = skipValue(text, value);
    members.set(JSON.parse(text.slice(name, end)) as string, text.slice(value, i));
    i = skipSpace(text, i);
  } while (text[i] === ",");
  if (text[i] !== "}") throw cutOff();
  return members;
}

/** The elements of an array, as they are written. The text is known to be a JSON array. */
export function elementsOf(text: string): string[] {
  const elements: string[] = [];
  let i = skipSpace(text, 0);
  do {
    const value = skipSpace(text, i + 1);
    if (text[value] === "]") return elements;
    i = skipValue(text, value);
    elements.push(text.slice(value, i));
    i = skipSpace(text, i);
  } while (text[i] === ",");
  if (text[i] !== "]") throw cutOff();
  return elements;
}
