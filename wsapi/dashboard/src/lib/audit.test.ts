import type { RecordedEvent } from "@gyre-events/client";
import { expect, test } from "vitest";
import { act, doneIn, target } from "./audit.js";

const event = (data: unknown) => ({ isJSON: true, data }) as RecordedEvent;

test("acts are in words, those too that are not known", () => {
  expect(act("KeyCreated")).toBe("created key");
  expect(act("DoorPainted")).toBe("door painted");
});

test("a key is named by what it is for, and an event without data is shown", () => {
  expect(target(event({ target: "abc", detail: { note: "shop" } }))).toBe("shop");
  expect(target(event({ target: "node1" }))).toBe("node1");
  expect([target(event(null)), doneIn({ isJSON: false } as RecordedEvent)]).toEqual(["", {}]);
});
