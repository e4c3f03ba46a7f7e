import { GyreError } from "./errors.js";

/** Where a node is: the same place under two schemes. */
export interface Address {
  /** Of GET /v1/ws. */
  ws: string;
  /** Of the HTTP API, without a slash at the end. */
  http: string;
}

/** Takes http, https, ws and wss URLs, and host:port. */
export function parseAddress(text: string): Address {
  let u: URL | undefined;
  try {
    u = new URL(text.includes("://") ? text : `http://${text}`);
  } catch {
    // Refused below.
  }
  const scheme = u && /^(?:http|ws)(s?):$/.exec(u.protocol);
  if (!u || !scheme || u.host === "" || u.search !== "" || u.hash !== "" || u.username !== "" || u.password !== "") {
    throw new GyreError("invalid_config", `${JSON.stringify(text)} is not the address of a node; http://host:port is one`);
  }
  const base = `${scheme[1]}://${u.host}${u.pathname.replace(/\/+$/, "")}`;
  return { ws: `ws${base}/v1/ws`, http: `http${base}` };
}
