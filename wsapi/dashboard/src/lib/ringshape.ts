/** An owner in the ring, with its share of the slots. */
export interface Owner {
  name: string;
  slots: number;
  /** What it appends, in events a second. */
  rate: number;
  gone?: boolean;
}

/** How an owner is drawn. */
export interface Arc {
  owner: Owner;
  /** Which colour, from 1. */
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
  label: { x: number; y: number; anchor: "middle" | "start" | "end" };
}

const bandRadius = 142;
const rimRadius = 156;
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

/** Draws owners around a circle, the first at the top. */
export function arcs(owners: readonly Owner[]): Arc[] {
  const slots = owners.reduce((n, o) => n + o.slots, 0) || 1;
  const most = Math.max(1, ...owners.map((o) => o.rate));
  let from = -90 - (180 * (owners[0]?.slots ?? 0)) / slots;
  return owners.map((owner, i) => {
    const share = owner.slots / slots;
    const until = from + 360 * share;
    const middle = (from + until) / 2;
    const label = at(labelRadius, middle);
    const step = owner.rate <= 0 ? 0 : Math.ceil((4 * owner.rate) / most);
    const arc: Arc = {
      owner,
      color: (i % colors) + 1,
      band: ring(bandRadius, from, until),
      rim: ring(rimRadius, from, until),
      cells: Math.max(1, Math.round(allCells * share)),
      lines: currents(from, until, Math.round(allLines * share)),
      weight: [0.7, 0.7, 1.1, 1.9, 3][step] as number,
      opacity: [0.18, 0.28, 0.5, 0.72, 0.95][step] as number,
      dot: at(rimRadius, middle),
      label: { ...label, anchor: Math.abs(label.x) < 40 ? "middle" : label.x > 0 ? "start" : "end" },
    };
    from = until;
    return arc;
  });
}

function ring(radius: number, from: number, until: number): string {
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
