import { expect, test } from "vitest";
import { manifestOf } from "./module.js";

const utf8 = (s: string) => [...new TextEncoder().encode(s)];
const leb = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >> 7)]);
const custom = (name: string, body: number[]) => {
  const all = [...leb(name.length), ...utf8(name), ...body];
  return [0, ...leb(all.length), ...all];
};
const module = (...sections: number[][]) => new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, ...sections.flat()]);

test("the manifest of a module", () => {
  const manifest = { name: "words", version: "1.0.0", description: "x".repeat(300) };
  const section = custom("gyre.manifest", utf8(JSON.stringify(manifest)));
  expect(manifestOf(module(custom("name", [1, 2]), [1, 1, 0], section))).toEqual(manifest);
  expect(manifestOf(module(custom("name", [])))).toBeUndefined();
  expect(manifestOf(module())).toBeUndefined();
});

test("what is damaged ends, and what is no module is refused", () => {
  expect(manifestOf(module([1, 0x80]))).toBeUndefined();
  expect(manifestOf(module([1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))).toBeUndefined();
  expect(manifestOf(module(custom("gyre.manifest", utf8("{"))))).toBeUndefined();
  expect(() => manifestOf(new Uint8Array(utf8("hello")))).toThrow(/no WebAssembly module/);
  expect(() => manifestOf(new Uint8Array())).toThrow(/no WebAssembly module/);
});
