const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const formats = (timeZone?: string) => ({
  day: new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone }),
  clock: new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23", timeZone }),
});
const [here, utc] = [formats(), formats("UTC")];

/** A whole number with separators. */
export function count(n: number | undefined): string {
  return n === undefined ? "–" : whole.format(n);
}

/** A number with two or three digits that count. */
export function brief(n: number): string {
  if (n >= 100 || Number.isInteger(n)) return whole.format(n);
  return n.toPrecision(n >= 10 ? 3 : 2);
}

/** The value and the unit of so many bytes. */
export function bytes(n: number | undefined): [string, string] {
  if (n === undefined) return ["–", ""];
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return [i === 0 ? whole.format(n) : n.toFixed(n < 10 ? 1 : 0), units[i] as string];
}

/** So many seconds, in words: "4 min". */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** How long ago it was. */
export function ago(time: string, now: number): string {
  const s = (now - Date.parse(time)) / 1000;
  return s < 1.5 ? "now" : `${span(s)} ago`;
}

/** The time of day, of the reader's place or UTC. */
export function clock(ms: number, inUTC: boolean): string {
  return (inUTC ? utc : here).clock.format(ms);
}

/** A time of the reader's place, or UTC: today's without its date. */
export function local(time: string, now: number, inUTC = false): string {
  const { day, clock } = inUTC ? utc : here;
  const at = new Date(time);
  const ms = (/\.(\d{1,3})/.exec(time)?.[1] ?? "0").padEnd(3, "0");
  const text = clock.format(at).replace(/(\d)(\D*)$/, `$1.${ms}$2`);
  return day.format(at) === day.format(now) ? text : `${day.format(at)} ${text}`;
}

/** The value of a field for a time, in seconds; "" if there is none. */
export function shownInstant(time: string, inUTC: boolean): string {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "";
  const ms = inUTC ? 0 : at.getTimezoneOffset() * 60_000;
  return new Date(at.getTime() - ms).toISOString().slice(0, 19);
}

/** The time in RFC 3339 that such a field says; undefined if it says none. */
export function instant(shown: string, inUTC: boolean): string | undefined {
  if (shown === "") return undefined;
  return new Date(inUTC ? `${shown}Z` : shown).toISOString();
}

/** A name in two parts: what many share, and the end that tells it apart. */
export function ends(name: string): [string, string] {
  const at = name.lastIndexOf("/") + 1;
  return [name.slice(0, at), name.slice(at)];
}

/** Text with what cannot be seen, or turns the direction of what follows, made visible. */
export function visible(text: string): string {
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A text in parts: every second is what was looked for. */
export function marked(text: string, wanted: string): string[] {
  if (wanted === "") return [text];
  const parts: string[] = [];
  const low = text.toLowerCase();
  let from = 0;
  for (let at: number; (at = low.indexOf(wanted.toLowerCase(), from)) >= 0; from = at + wanted.length)
    parts.push(text.slice(from, at), text.slice(at, at + wanted.length));
  return [...parts, text.slice(from)];
}
