import type { Setting } from "@gyre-events/client/admin";

/** What stands for a secret in a value. */
const hidden = "•••";

/** It is not the default. */
export const isSet = (s: Setting) => s.source !== "default";

/** Settings as a file for --config: those that are set, but for the file itself; secrets are to be filled in. */
export function asYAML(settings: readonly Setting[]): string {
  return settings
    .filter((s) => isSet(s) && s.name !== "config")
    .map((s) => `${s.value.includes(hidden) ? "# " : ""}${s.name}: ${scalar(s.value)}\n`)
    .join("");
}

const scalar = (value: string) => (/^[\w./][\w.:/-]*(?<!:)$/.test(value) ? value : JSON.stringify(value));
