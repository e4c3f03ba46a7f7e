import { readFileSync } from "node:fs";
import { GyreError } from "@gyre-events/client";
import { render } from "svelte/server";
import { expect, test } from "vitest";
import Problem from "./Problem.svelte";
import Wrong from "./Wrong.svelte";

const described = JSON.parse(readFileSync(new URL("../../../docs/asyncapi.json", import.meta.url), "utf8"));
const codes = described.components.schemas.ErrorCode.enum as readonly string[];

test("every code of the catalogue is shown with what happened and what to do", () => {
  expect(codes.length).toBeGreaterThan(50);
  for (const part of [Problem, Wrong]) {
    for (const code of codes) {
      const error = new GyreError(code, "stream <b>\u202e has no version 7", { fix: `do <i>${code}</i>` });
      const { body } = render(part, { props: { error } });
      expect(body).toContain(code);
      expect(body).toContain("stream &lt;b>\\u202e has no version 7");
      expect(body).toContain(`do &lt;i>${code}&lt;/i>`);
      expect(body).toContain(`/docs/errors/${code}`);
    }
  }
});

test("an error of this side says what to do, too", () => {
  for (const code of ["unavailable", "timeout", "canceled", "internal", "a_newer_one"]) {
    for (const part of [Problem, Wrong]) {
      const { body } = render(part, { props: { error: new GyreError(code, "why") } });
      expect(body.replace(/<[^>]*>/g, " ")).toMatch(/(Try again|Check|Load)/);
    }
  }
});
