import { expect, test } from "vitest";
import { agreement } from "./plugins.js";

test("a version in the shadow agrees wholly only if no event differs", () => {
  expect(agreement({ events: 0, differ: 0 })).toBe("–");
  expect(agreement({ events: 3, differ: 0 })).toBe("100 %");
  expect(agreement({ events: 10_000_000, differ: 1 })).toBe("99.999 %");
  expect(agreement({ events: 3, differ: 1 })).toBe("66.666 %");
  expect(agreement({ events: 3, differ: 3 })).toBe("0 %");
});
