import { expect, test } from "vitest";
import { arcs, gauge, passages, shortNames } from "./ringshape.js";

const owner = (name: string, slots: number, rate = 0, color = 1) => ({ name, slots, rate, color });

test("one node is a whole circle", () => {
  const [arc] = arcs([owner("n1", 4096)]);
  expect(arc?.band).toMatch(/^M142 0A.*A/);
  expect(arc?.cells).toBe(256);
});

test("shares are shares of the circle, the first at the top", () => {
  const drawn = arcs([owner("n1", 2048, 10), owner("n2", 1024, 40), owner("n3", 1024)]);
  expect(drawn.map((a) => a.cells)).toEqual([128, 64, 64]);
  expect(drawn[0]?.dot.x).toBeCloseTo(0);
  expect(drawn[0]?.dot.y).toBeCloseTo(-156);
  expect(drawn.map((a) => a.label.anchor)).toEqual(["middle", "start", "end"]);
  expect(drawn.map((a) => a.weight)).toEqual([0.7, 3, 0.7]);
});

test("without slots nothing is drawn wrong", () => {
  expect(arcs([])).toEqual([]);
  expect(arcs([owner("n1", 0)])[0]?.cells).toBe(1);
});

test("slots on their way are cells in the color of who gives them", () => {
  const owners = [owner("n1", 2048, 0, 1), owner("n2", 2048, 0, 2)];
  const move = (from: string, slots: number, color: number) => ({ from, to: "n2", slots, color });
  const drawn = passages(owners, [move("n1", 512, 1), move("n3", 256, 3), { ...move("n1", 1, 1), to: "nobody" }]);
  expect(drawn.map((p) => [p.color, p.cells])).toEqual([
    [1, 32],
    [3, 16],
  ]);
  expect(drawn[1]?.band).not.toBe(drawn[0]?.band);
  expect(drawn[1]?.label).not.toEqual(drawn[0]?.label);
});

test("slots on their way are at the end of the arc that is beside who gives them", () => {
  const owners = [owner("n1", 1024, 0, 1), owner("n2", 1024, 0, 2), owner("n3", 2048, 0, 3)];
  const move = (from: string) => ({ from, to: "n3", slots: 102, color: 1 });
  const [fromNext, fromLast] = passages(owners, [move("n1"), move("n2")]); // the arc of n3 is the lower left
  expect(fromNext?.label.y).toBeLessThan(0);
  expect(fromLast?.label.y).toBeGreaterThan(0);
  expect([fromNext?.flow, fromLast?.flow].map((f) => / 0 0 (\d) /.exec(f ?? "")?.[1])).toEqual(["0", "1"]);
});

test("a color is kept, and repeats after five", () => {
  expect(arcs([owner("n7", 4096, 0, 7)])[0]?.color).toBe(2);
});

test("names lose a host where they differ without it", () => {
  expect(shortNames(["node1@a", "node2@a", "node3"])).toEqual(["node1", "node2", "node3"]);
  expect(shortNames(["node@a", "node@b"])).toEqual(["node@a", "node@b"]);
});

test("a gauge begins where the ring does", () => {
  expect(gauge([owner("n1", 2048), owner("n2", 2048, 0, 2)])).toBe(
    "conic-gradient(from -90.0deg, var(--n1) 0.0deg 172.0deg, transparent 0 180.0deg, " +
      "var(--n2) 180.0deg 352.0deg, transparent 0 360.0deg)",
  );
});
