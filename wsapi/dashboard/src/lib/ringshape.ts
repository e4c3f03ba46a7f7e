/** An owner in the ring, with its share of the slots. */
export interface Owner {
  name: string;
  slots: number;
  /** What it appends, in events a second. */
  rate: number;
  /** Which color it has, from 1; colors repeat. */
  color: number;
}

/** Slots on their way to another owner. */
export interface Moving {
  from: string;
  to: string;
  slots: number;
  /** The color of who gives them. */
  color: number;
}

type Anchor = "middle" | "start" | "end";

/** How an owner is drawn. */
export interface Arc {
  owner: Owner;
  /** Its name, without what all share. */
  name: string;
  color: number;
  /** Its band and its rim; a whole circle if it is alone. */
  band: string;
  rim: string;
  cells: number;
  /** The lines inside, from its slots to the head of the log. */
  lines: string;
  weight: number;
  opacity: number;
  dot: { x: number; y: number };
  label: { x: number; y: number; anchor: Anchor };
}

/** How slots on their way are drawn: cells in the arc of who takes them, and an arrow outside. */
export interface Passage {
  move: Moving;
  color: number;
  band: string;
  cells: number;
  flow: string;
  head: string;
  label: { x: number; y: number; anchor: Anchor };
}

const bandRadius = 142;
const rimRadius = 156;
const flowRadius = 169;
const labelRadius = 178;
/** Cells of all owners together, and lines. */
const allCells = 256;
const allLines = 60;
const gap = 2.4; // degrees between owners
const colors = 5;

const at = (radius: number, degrees: number) => {
  const a = (degrees * Math.PI) / 180;
  return { x: radius * Math.cos(a), y: radius * Math.sin(a) };
};
const point = (radius: number, degrees: number) => {
  const { x, y } = at(radius, degrees);
  return `${x.toFixed(1)} ${y.toFixed(1)}`;
};
/** Where a label is beside the ring. Above and below it there are two lines between text and ring. */
function beside(radius: number, degrees: number): { x: number; y: number; anchor: Anchor } {
  const { x, y } = at(radius, degrees);
  const side = anchor(x);
  return { x, y: side === "middle" ? y + Math.sign(y) * 10 : y, anchor: side };
}
const anchor = (x: number): Anchor => (Math.abs(x) < 40 ? "middle" : x > 0 ? "start" : "end");

/** The color with a number, of those that there are. */
export const colorOf = (n: number) => ((n - 1) % colors) + 1;

/** Names without the "@host" that follows, where they differ before it. */
export function shortNames(names: readonly string[]): string[] {
  const short = names.map((n) => n.split("@")[0] || n);
  return new Set(short).size === new Set(names).size ? short : [...names];
}

/** Where the owners are around a circle, in degrees, the first at the top. */
function shares(owners: readonly Owner[]): { from: number; until: number }[] {
  const slots = owners.reduce((n, o) => n + o.slots, 0) || 1;
  let from = -90 - (180 * (owners[0]?.slots ?? 0)) / slots;
  return owners.map((o) => {
    const share = { from, until: from + (360 * o.slots) / slots };
    from = share.until;
    return share;
  });
}

/** Draws owners around a circle. */
export function arcs(owners: readonly Owner[]): Arc[] {
  const most = Math.max(1, ...owners.map((o) => o.rate));
  const names = shortNames(owners.map((o) => o.name));
  return shares(owners).map(({ from, until }, i) => {
    const owner = owners[i] as Owner;
    const part = (until - from) / 360;
    const middle = (from + until) / 2;
    const step = owner.rate <= 0 ? 0 : Math.ceil((4 * owner.rate) / most);
    return {
      owner,
      name: names[i] as string,
      color: colorOf(owner.color),
      band: circle(bandRadius, from, until),
      rim: circle(rimRadius, from, until),
      cells: Math.max(1, Math.round(allCells * part)),
      lines: currents(from, until, Math.round(allLines * part)),
      weight: [0.7, 0.7, 1.1, 1.9, 3][step] as number,
      opacity: [0.18, 0.28, 0.5, 0.72, 0.95][step] as number,
      dot: at(rimRadius, middle),
      label: beside(labelRadius, middle),
    };
  });
}

/**
 * Draws slots on their way, in the arcs of those who take them: at the end that is beside who gives
 * them, or at the start.
 */
export function passages(owners: readonly Owner[], moves: readonly Moving[]): Passage[] {
  const all = shares(owners);
  const taken = new Map<string, { slots: number; n: number }>();
  const list: Passage[] = [];
  for (const move of moves) {
    const i = owners.findIndex((o) => o.name === move.to);
    const share = all[i];
    const taker = owners[i];
    if (share === undefined || taker === undefined) continue;
    const atEnd = owners.length > 2 && owners[(i + 1) % owners.length]?.name === move.from;
    const key = `${move.to} ${atEnd}`;
    const before = taken.get(key) ?? { slots: 0, n: 0 };
    taken.set(key, { slots: before.slots + move.slots, n: before.n + 1 });
    const degrees = (slots: number) => (share.until - share.from) * Math.min(1, slots / (taker.slots || 1));
    const [a, b] = [degrees(before.slots), degrees(before.slots + move.slots)];
    const [from, until] = atEnd ? [share.until - b, share.until - a] : [share.from + a, share.from + b];
    list.push(passage(move, { from, until, atEnd, n: before.n }));
  }
  return list;
}

function passage(move: Moving, p: { from: number; until: number; atEnd: boolean; n: number }): Passage {
  const middle = (p.from + p.until) / 2;
  const turn = p.atEnd ? -1 : 1; // the arrow comes from the side of who gives
  const [tail, tip] = [middle - 18 * turn, middle + 6 * turn];
  return {
    move,
    color: colorOf(move.color),
    band: circle(bandRadius, p.from, p.until),
    cells: Math.max(1, Math.round((allCells * (p.until - p.from)) / 360)),
    flow: `M${point(flowRadius, tail)}A${flowRadius} ${flowRadius} 0 0 ${p.atEnd ? 0 : 1} ${point(flowRadius, tip)}`,
    head: `translate(${point(flowRadius, tip)}) rotate(${(tip + 90 * turn).toFixed(1)})`,
    label: beside(flowRadius + 14 + 17 * p.n, middle - 6 * turn),
  };
}

function circle(radius: number, from: number, until: number): string {
  if (until - from > 359.9)
    return `M${radius} 0A${radius} ${radius} 0 1 1 ${-radius} 0A${radius} ${radius} 0 1 1 ${radius} 0`;
  const [a, b] = [from + gap / 2, Math.max(from + gap / 2, until - gap / 2)];
  return `M${point(radius, a)}A${radius} ${radius} 0 ${b - a > 180 ? 1 : 0} 1 ${point(radius, b)}`;
}

/** Lines that turn from the band to the middle. */
function currents(from: number, until: number, n: number): string {
  let path = "";
  for (let i = 0; i < n; i++) {
    const a = from + ((i + 0.5) * (until - from)) / n;
    path += `M${point(129, a)}C${point(100, a + 16)} ${point(90, a + 52)} ${point(77, a + 84)}`;
  }
  return path;
}

/** The shares as the background of a small ring. */
export function gauge(owners: readonly Owner[]): string {
  const stops = shares(owners).map(({ from, until }, i) => {
    const turned = (degrees: number) => (degrees - (shares(owners)[0]?.from ?? 0)).toFixed(1);
    const color = `var(--n${colorOf((owners[i] as Owner).color)})`;
    return `${color} ${turned(from)}deg ${turned(until - (owners.length > 1 ? 8 : 0))}deg, transparent 0 ${turned(until)}deg`;
  });
  const begin = 90 + (shares(owners)[0]?.from ?? -90);
  return `conic-gradient(from ${begin.toFixed(1)}deg, ${stops.join(", ")})`;
}
