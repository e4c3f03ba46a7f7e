import { GyreError } from "@gyre-events/client";
import type { PluginManifest, PluginVersion } from "@gyre-events/client/admin";
import { live } from "./live.svelte.js";
import { manifestOf, sha256 } from "./module.js";
import { errorOf } from "./query.svelte.js";

/** Beyond so many bytes a node takes no module. */
const most = 64 << 20;

/** A file on its way to be a version of a plugin. It goes on while other pages are looked at. */
class Upload {
  file = $state.raw<File>();
  sha256 = $state("");
  /** That in the module, if there is one. */
  manifest = $state.raw<Partial<PluginManifest>>();
  /** How much of it was sent, from 0 to 1; undefined while nothing is under way. */
  sent = $state<number>();
  seconds = $state(0);
  /** What the node has verified and stored. */
  version = $state.raw<PluginVersion>();
  error = $state.raw<GyreError>();
  #module: Uint8Array<ArrayBuffer> | undefined;
  #stop: AbortController | undefined;

  /** Takes a file, and sends it if it says what it is. */
  async take(file: File): Promise<void> {
    this.discard();
    this.file = file;
    try {
      if (file.size > most)
        throw new GyreError("invalid_module", `${file.name} has ${file.size} bytes, a module has ${most} at most`);
      const module = new Uint8Array(await file.arrayBuffer());
      const manifest = manifestOf(module);
      const sum = await sha256(module);
      if (this.file !== file) return; // another was taken
      this.#module = module;
      this.manifest = manifest;
      this.sha256 = sum;
    } catch (e) {
      if (this.file === file) this.error = errorOf(e);
      return;
    }
    const { name, version } = this.manifest ?? {};
    if (name && version) await this.send(name, version);
  }

  /** Sends the module, with a manifest if it has none in it. */
  async send(name: string, version: string, manifest?: object): Promise<void> {
    if (this.#module === undefined || live.operator === undefined) return;
    const stop = new AbortController();
    this.#stop = stop;
    const began = Date.now();
    this.error = undefined;
    this.sent = 0;
    try {
      const onProgress = (part: number) => {
        if (this.#stop === stop) this.sent = part;
      };
      const o = { manifest, onProgress, signal: stop.signal };
      const stored = await live.operator.plugins.upload(name, version, this.#module, o);
      if (this.#stop !== stop) return;
      this.version = stored;
      this.seconds = (Date.now() - began) / 1000;
    } catch (e) {
      if (this.#stop === stop) this.error = errorOf(e);
    }
    if (this.#stop === stop) this.sent = undefined;
  }

  /** Forgets the file, and ends what is under way. */
  discard(): void {
    this.#stop?.abort();
    this.#stop = undefined;
    this.file = this.manifest = this.sent = this.version = this.error = this.#module = undefined;
    this.sha256 = "";
  }
}

export const upload = new Upload();
