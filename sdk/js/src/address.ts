import { GyreError } from "./errors.js";

/** Where a node is: the same place under two schemes. */
export interface Address {
  /** Of GET /v1/ws. */
  ws: string;
  /** Of the HTTP API, without a slash at the end. */
  http: string;
}

/** Takes addresses in a list, or with commas between them. One that is named twice counts once. */
export function parseAddresses(url: string | readonly string[]): Address[] {
  const texts = typeof url === "string" ? url.split(",") : url;
  return unique(texts.map((text) => parseAddress(text.trim())));
}

/** Leaves each address in its first place only. */
export function unique(list: readonly Address[]): Address[] {
  return [...new Map(list.map((a) => [a.http, a])).values()];
}

/** Takes http, https, ws and wss URLs, host:port, and :port. */
export function parseAddress(text: string): Address {
  let u: URL | undefined;
  try {
    u = new URL(text.includes("://") ? text : `http://${text.startsWith(":") ? "127.0.0.1" : ""}${text}`);
  } catch {
    // Refused below.
  }
  const scheme = u && /^(?:http|ws)(s?):$/.exec(u.protocol);
  if (!u || !scheme || u.host === "" || u.search !== "" || u.hash !== "" || u.username !== "" || u.password !== "") {
    throw new GyreError("invalid_config", `${JSON.stringify(text)} is no address; http://host:port is one`);
  }
  const base = `${scheme[1]}://${u.host}${u.pathname.replace(/\/+$/, "")}`;
  return { ws: `ws${base}/v1/ws`, http: `http${base}` };
}
