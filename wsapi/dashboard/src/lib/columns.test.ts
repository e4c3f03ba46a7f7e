import { expect, test } from "vitest";
import { cells, columnsOf } from "./columns.js";

test("members that fit into a cell, with their digits", () => {
  expect([...(cells('{"n":9007199254740993,"s":"x","o":{},"a":[],"t":true,"z":null}') ?? [])]).toEqual([
    ["n", "9007199254740993"],
    ["s", "x"],
    ["t", "true"],
  ]);
  expect(cells("3")).toBeUndefined();
  expect(cells(undefined)).toBeUndefined();
  expect(cells(`{"a":"${"x".repeat(5000)}"}`)).toBeUndefined();
});

test("columns are members that most values have", () => {
  expect(columnsOf(['{"a":1,"b":2}', '{"a":3,"c":1}'])).toEqual(["a"]);
  expect(columnsOf(["1", "2"])).toEqual([]);
  expect(columnsOf([])).toEqual([]);
  expect(columnsOf(['{"a":1,"b":2,"c":3,"d":4}'])).toEqual(["a", "b", "c"]);
});
