import { GyreError } from "@gyre-events/client";
import type { PluginManifest } from "@gyre-events/client/admin";

const section = "gyre.manifest";

/**
 * The manifest in a module, as far as it can be read here; undefined if there is none. Only the
 * node verifies a module. What is no WebAssembly at all is refused as invalid_module.
 */
export function manifestOf(module: Uint8Array): Partial<PluginManifest> | undefined {
  if (module[0] !== 0 || String.fromCharCode(...module.subarray(1, 4)) !== "asm") {
    throw new GyreError("invalid_module", "the file is no WebAssembly module: it does not begin with \\0asm", {
      fix: "Choose the .wasm file that gyre plugin build has written, or that your compiler has.",
    });
  }
  const reader = new Reader(module, 8);
  while (reader.at < module.length) {
    const kind = module[reader.at++];
    const end = reader.number() + reader.at;
    if (kind === 0 && reader.text() === section) return parsed(module.subarray(reader.at, end));
    if (!(end > reader.at - 1)) break; // damaged, which the node will say
    reader.at = end;
  }
  return undefined;
}

class Reader {
  constructor(
    readonly bytes: Uint8Array,
    public at: number,
  ) {}

  /** An unsigned LEB128; NaN where there is none. */
  number(): number {
    let n = 0;
    for (let i = 0; i < 5; i++) {
      const b = this.bytes[this.at++];
      if (b === undefined) return Number.NaN;
      n += (b & 0x7f) * 2 ** (7 * i);
      if (b < 0x80) return n;
    }
    return Number.NaN;
  }

  text(): string {
    const n = this.number();
    const text = new TextDecoder().decode(this.bytes.subarray(this.at, this.at + n));
    this.at += n;
    return text;
  }
}

function parsed(bytes: Uint8Array): Partial<PluginManifest> | undefined {
  try {
    const manifest: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof manifest === "object" && manifest !== null ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** The SHA-256 of bytes in hex; "" where the browser has none, which is beyond loopback without TLS. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (globalThis.crypto?.subtle === undefined) return "";
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...sum].map((b) => b.toString(16).padStart(2, "0")).join("");
}
