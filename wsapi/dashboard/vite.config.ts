import { existsSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

/** Writes what is text compressed, and only so: the node sends it as it is, and embeds it once. */
function compressed(): Plugin {
  return {
    name: "compressed",
    enforce: "post",
    generateBundle: {
      order: "post", // what chunks need of each other has been written into them
      handler(_, bundle) {
        for (const [name, file] of Object.entries(bundle)) {
          if (!/\.(js|css)$/.test(name)) continue;
          const source = file.type === "chunk" ? file.code : file.source;
          delete bundle[name];
          this.emitFile({ type: "asset", fileName: `${name}.gz`, source: gzipSync(source, { level: 9 }) });
        }
      },
    },
  };
}

/** What Getting started imports and deploys: data, and a module that scripts/dashboard.sh has built. */
const samples = {
  "samples/events.ndjson": "../../examples/temporal-sample.ndjson",
  "samples/directories.wasm": "../../build/directories.wasm",
};
const manifest = readFileSync("../../examples/plugins/directories/gyre.plugin.json", "utf8");

function sampled(): Plugin {
  return {
    name: "samples",
    generateBundle() {
      for (const [name, file] of Object.entries(samples)) {
        if (!existsSync(file)) continue;
        this.emitFile({ type: "asset", fileName: `${name}.gz`, source: gzipSync(readFileSync(file), { level: 9 }) });
      }
    },
  };
}

// In `npm run dev` the pages are Vite's, and everything else is a node's.
const node = process.env["GYRE_SERVER"] ?? "http://127.0.0.1:4973";

export default defineConfig({
  plugins: [svelte(), compressed(), sampled()],
  define: { sampleManifest: existsSync(samples["samples/directories.wasm"]) ? manifest : "undefined" },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 400,
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  logLevel: "warn",
  server: { proxy: { "/v1": { target: node, ws: true } } },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
