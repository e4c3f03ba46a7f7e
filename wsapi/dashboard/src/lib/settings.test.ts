import type { Setting } from "@gyre-events/client/admin";
import { expect, test } from "vitest";
import { asYAML } from "./settings.js";

const setting = (name: string, value: string, source: Setting["source"] = "flag"): Setting => ({
  name,
  value,
  default: "",
  source,
});

test("a file of settings has what is set, but no secret and not its own name", () => {
  const settings = [
    setting("config", "/etc/gyre.yaml"),
    setting("data", "/var/lib/gyre"),
    setting("listen", "127.0.0.1:4973", "default"),
    setting("origins", "https://a.example,https://b.example"),
    setting("peers-exec", "find-peers •••"),
    setting("read-only", "true"),
  ];
  expect(asYAML(settings)).toBe(
    'data: /var/lib/gyre\norigins: "https://a.example,https://b.example"\n# peers-exec: "find-peers •••"\nread-only: true\n',
  );
});
