import { expect, test } from "vitest";
import { arcs } from "./ringshape.js";

const owner = (name: string, slots: number, rate = 0) => ({ name, slots, rate });

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
