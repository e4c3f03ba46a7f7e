import { type Fetched, type Limits, limits } from "./connection.js";
import type { Link } from "./link.js";

/** Which part of a list to go through. */
export interface NamedOptions extends Limits {
  /** Only what has a name that begins with it. */
  prefix?: string | undefined;
}

/** Parameters of a query; what is undefined is left out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** A page of a list: its items are in the field that has the list's name. */
interface ListPage {
  cursor?: string;
  end: boolean;
}

/** HTTP requests of a client. */
export class Requests {
  readonly #link: Link;
  readonly #parse: (text: string) => unknown;

  /** parse is what makes an answer of its text. */
  constructor(link: Link, parse: (text: string) => unknown = JSON.parse) {
    this.#link = link;
    this.#parse = parse;
  }

  /** Returns what is at a path. */
  async get<T>(path: string, query: Query, o: Limits): Promise<T> {
    return this.#parse(await this.#link.fetch(withQuery(path, query), {}, limits(o))) as T;
  }

  /** Asks something that a GET has no room for, and returns the answer. It changes nothing. */
  async ask<T>(path: string, body: object, o: Limits, via?: typeof fetch): Promise<T> {
    const headers = { "content-type": "application/json" };
    const init = { method: "POST", changes: false, via, headers, body: JSON.stringify(body) };
    return this.#parse(await this.#link.fetch(path, init, limits(o))) as T;
  }

  /** Asks for an answer that comes for as long as the signal does not abort, and has via take it. */
  async open(path: string, query: Query, accept: string, signal: AbortSignal, via: typeof fetch): Promise<void> {
    await this.#link.fetch(withQuery(path, query), { via, headers: { accept } }, { signal, timeoutMs: Number.MAX_SAFE_INTEGER });
  }

  /** Asks something with a text, and has via take the answer. It changes nothing. */
  async askText(path: string, query: Query, body: string, o: Limits, via: typeof fetch): Promise<void> {
    const headers = { "content-type": "text/plain" };
    await this.#link.fetch(withQuery(path, query), { method: "POST", changes: false, via, headers, body }, limits(o));
  }

  /** Changes something, and returns the answer; undefined if it has no body. */
  async change<T>(method: string, path: string, query: Query, body: unknown, o: Limits, via?: typeof fetch): Promise<T> {
    const init: Fetched = { method, via };
    if (body instanceof Blob || body instanceof FormData) init.body = body;
    else if (body !== undefined) Object.assign(init, { body: JSON.stringify(body), headers: { "content-type": "application/json" } });
    const text = await this.#link.fetch(withQuery(path, query), init, limits(o));
    return (text === "" ? undefined : this.#parse(text)) as T;
  }

  /** Goes through a list, page by page. */
  async *list<T>(path: string, items: string, query: Query, o: Limits): AsyncGenerator<T, void, undefined> {
    for (let cursor: string | undefined; ; ) {
      const page = await this.get<ListPage & Record<string, unknown>>(path, { ...query, cursor }, o);
      yield* page[items] as T[];
      if (page.end) return;
      cursor = page.cursor;
    }
  }
}

/** A path of the API with names in it. */
export function pathOf(strings: TemplateStringsArray, ...names: string[]): string {
  return String.raw({ raw: strings }, ...names.map(encodeURIComponent));
}

function withQuery(path: string, query: Query): string {
  const set = Object.entries(query).filter(([, value]) => value !== undefined && value !== "" && value !== false);
  return set.length === 0 ? path : `${path}?${new URLSearchParams(set.map(([name, value]) => [name, String(value)]))}`;
}
