// Writes what the API's descriptions know better than a second list: codes.ts, the codes of the
// error catalogue, and schemas.ts, the types of what HTTP requests send and answer. It is part of
// the build.

import { readFileSync, writeFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";

const read = (name) => JSON.parse(readFileSync(new URL(`../../../wsapi/docs/${name}`, import.meta.url), "utf8"));
const write = (name, text) => writeFileSync(new URL(name, import.meta.url), text);

const codes = read("asyncapi.json").components.schemas.ErrorCode.enum;
write(
  "codes.ts",
  `/** The codes that Gyre's error catalogue has. GET /docs/errors/CODE of a node explains each. */
export type KnownErrorCode =
${codes.map((code) => `  | ${JSON.stringify(code)}`).join("\n")};
`,
);

const { openapi, info, components } = read("openapi.json");
const { schemas } = components;
const types = await openapiTS(
  { openapi, info, paths: {}, components: { schemas } },
  { emptyObjectsUnknown: true, defaultNonNullable: false, rootTypes: true, rootTypesNoSchemaPrefix: true },
);
write("schemas.ts", astToString(types));
