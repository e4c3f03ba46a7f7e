/** Where the reader is: the path, decoded, and what is chosen on the page, in the query. */
class Place {
  path = $state.raw<readonly string[]>([]);
  query = $state.raw(new URLSearchParams());

  constructor() {
    this.read();
  }

  read(): void {
    this.path = location.pathname.split("/").slice(1).map(decoded);
    this.query = new URLSearchParams(location.search);
  }
}

export const place = new Place();

/** A path of the dashboard with names in it. */
export function to(...segments: readonly (string | number)[]): string {
  return `/${segments.map((s) => encodeURIComponent(s)).join("/")}`;
}

/** Goes to an address of the dashboard. */
export function go(href: string, o: { replace?: boolean } = {}): void {
  const page = location.pathname;
  // What lies over the page is left for good.
  if (o.replace === true || depth() > 0) history.replaceState(null, "", href);
  else history.pushState(null, "", href);
  place.read();
  if (location.pathname !== page) scrollTo(0, 0);
}

/** Leaves the entry of what was closed. */
let leaving: ReturnType<typeof setTimeout> | undefined;

/** How many things lie over the page, by the history. */
const depth = () => (history.state as { over?: number } | null)?.over ?? 0;

/**
 * Says that something was opened over the page, which the browser's back button closes. It returns
 * what has to be called once it is closed, by whatever.
 */
export function over(close: () => void): () => void {
  const mine = depth() + (leaving === undefined ? 1 : 0);
  if (leaving === undefined) history.pushState({ over: mine }, "");
  clearTimeout(leaving); // it takes the place of what was just closed
  leaving = undefined;
  const moved = () => depth() < mine && close();
  addEventListener("popstate", moved);
  return () => {
    removeEventListener("popstate", moved);
    // What closed it may go elsewhere at once, and then takes this entry of the history.
    leaving = setTimeout(() => {
      leaving = undefined;
      if (depth() === mine) history.back();
    });
  };
}

/** Changes what is chosen on the page; undefined takes a parameter away. */
export function choose(changes: Readonly<Record<string, string | undefined>>, o: { replace?: boolean } = {}): void {
  go(chosen(changes), o);
}

/** The address of the page with other parameters, for a link. */
export function chosen(changes: Readonly<Record<string, string | undefined>>): string {
  const query = new URLSearchParams(place.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  return location.pathname + (text === "" ? "" : `?${text}`);
}

/** Follows links inside of the dashboard, and the browser's buttons, without loading the page anew. */
export function listen(): () => void {
  const clicked = (e: MouseEvent) => {
    const link = (e.target as Element).closest?.("a[href]") as HTMLAnchorElement | null;
    const plain = e.button === 0 && !e.metaKey && !e.ctrlKey && !e.shiftKey && !e.altKey;
    if (link === null || !plain || e.defaultPrevented) return;
    if (link.origin !== location.origin || link.target !== "" || link.hasAttribute("download")) return;
    if (link.hash !== "" && link.pathname === location.pathname) return;
    if (served.some((path) => link.pathname === path || link.pathname.startsWith(`${path}/`))) return;
    e.preventDefault();
    go(link.pathname + link.search);
  };
  const moved = () => place.read();
  if (depth() > 0) history.replaceState(null, ""); // the page was loaded anew
  document.addEventListener("click", clicked);
  addEventListener("popstate", moved);
  return () => {
    document.removeEventListener("click", clicked);
    removeEventListener("popstate", moved);
  };
}

/** What the node serves besides the dashboard. */
const served = ["/v1", "/docs", "/metrics", "/openapi.json", "/asyncapi.json", "/readyz", "/livez"];

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
