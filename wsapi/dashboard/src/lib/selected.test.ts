import { expect, test } from "vitest";
import { categoryOf, selected, wanted } from "./selected.svelte.js";

test("the query of a URL is a selection", () => {
  expect(wanted(new URLSearchParams())).toEqual({ selection: {}, from: undefined, backward: true });
  const query = selected({ category: "order", types: "Order*, ,Paid", since: "2026-01-01T00:00:00Z" }).split("?")[1];
  expect(wanted(new URLSearchParams(`${query}&order=oldest&from=7&until=`))).toEqual({
    selection: { category: "order", since: "2026-01-01T00:00:00Z", filter: { types: ["Order*", "Paid"] } },
    from: 7,
    backward: false,
  });
});

test("a stream has the category that its name begins with", () => {
  expect(["order-1-eu", "order", "-1", ""].map(categoryOf)).toEqual(["order", undefined, undefined, undefined]);
});
