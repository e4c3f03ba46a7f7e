import { GyreError } from "@gyre-events/client";
import type { Principal } from "@gyre-events/client/admin";

/** What a principal may do. */
export type Action = Principal["actions"][number];

/** Who uses the page: known, to be asked for a key, or not to be found out now. */
class Session {
  state = $state<"asking" | "out" | "in" | "away">("asking");
  principal = $state.raw<Principal>();
  error = $state.raw<GyreError>();
  /** Sent with what changes something. */
  readonly headers: Record<string, string> = {};
  /** There is a cookie, and so something to log out of. */
  cookie = $state(false);

  /** Finds out who it is. */
  async begin(): Promise<void> {
    try {
      const kept = await ask("GET", "/v1/session");
      this.#keep(kept);
      const known = "principal" in (kept as object);
      if (known) this.principal = (await ask("GET", "/v1/principal")) as Principal;
      this.state = known ? "in" : "out";
    } catch (e) {
      this.state = "away";
      this.error = e as GyreError;
    }
  }

  async logIn(token: string): Promise<void> {
    this.#keep(await ask("POST", "/v1/session", { token }));
    await this.begin();
  }

  async logOut(): Promise<void> {
    await ask("DELETE", "/v1/session", undefined, this.headers);
    location.assign("/");
  }

  /** Reports whether the principal may do something at all; with what, the node decides. */
  may(action: Action): boolean {
    return this.principal?.actions.includes(action) ?? false;
  }

  /** It may read $all; where it is not granted every stream, the others are passed over. */
  get readsAll(): boolean {
    return ["admin", "anyone", "operator", "reader"].includes(this.principal?.role ?? "");
  }

  /** It is granted every stream, and so may know how many there are. */
  get seesAll(): boolean {
    const { role = "", streams = [] } = this.principal ?? {};
    const every = role === "admin" || role === "anyone" || streams.includes("$all") || streams.includes("*");
    return every && this.may("streams.list");
  }

  #keep(kept: unknown): void {
    const csrf = (kept as { csrf?: string } | undefined)?.csrf;
    this.cookie = csrf !== undefined;
    if (csrf === undefined) delete this.headers["Gyre-CSRF"];
    else this.headers["Gyre-CSRF"] = csrf;
  }
}

export const session = new Session();

async function ask(
  method: string,
  path: string,
  body?: object,
  headers: Record<string, string> = {},
): Promise<unknown> {
  const init: RequestInit = { method, headers, signal: AbortSignal.timeout(10_000) };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...headers, "content-type": "application/json" };
  }
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (cause) {
    throw new GyreError("unavailable", "the node does not answer", { cause });
  }
  const text = await answer.text();
  if (!answer.ok) throw problem(answer.status, text);
  return text === "" ? undefined : JSON.parse(text);
}

function problem(status: number, text: string): GyreError {
  try {
    const { code, detail, ...fields } = JSON.parse(text);
    return new GyreError(code, detail ?? "", fields);
  } catch {
    return new GyreError("unavailable", `the node answered ${status}`);
  }
}
