// Writes codes.ts, the codes of the error catalogue as the API's description has them.
// It is part of the build, so that a new code is known here without a second list.

import { readFileSync, writeFileSync } from "node:fs";

const description = new URL("../../../wsapi/docs/asyncapi.json", import.meta.url);
const codes = JSON.parse(readFileSync(description, "utf8")).components.schemas.ErrorCode.enum;
writeFileSync(
  new URL("codes.ts", import.meta.url),
  `/** The codes that Gyre's error catalogue has. GET /docs/errors/CODE of a node explains each. */
export type KnownErrorCode =
${codes.map((code) => `  | ${JSON.stringify(code)}`).join("\n")};
`,
);
