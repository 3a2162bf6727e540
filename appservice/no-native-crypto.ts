/**
 * Must be the first import of every file that loads matrix-appservice-bridge.
 *
 * The bridge library depends on a native encryption module whose install script downloads a binary. This service
 * never encrypts, so where the binary is missing (scripts blocked, no network) an empty module takes its place: any
 * use of it fails with a plain message instead of the whole library failing to load.
 */
import Module, { createRequire } from "node:module";

const NATIVE = "@matrix-org/matrix-sdk-crypto-nodejs";

const here = createRequire(import.meta.url);
const bridge = createRequire(here.resolve("matrix-appservice-bridge"));
const sdk = createRequire(bridge.resolve("@vector-im/matrix-bot-sdk"));

/** Whether the real module was found; shown by `doctor`. */
export const nativeCrypto: "native" | "absent" = load();

function load(): "native" | "absent" {
  try {
    sdk(NATIVE);
    return "native";
  } catch {
    standIn();
    return "absent";
  }
}

function standIn(): void {
  const path = sdk.resolve(NATIVE);
  const module = new Module(path);
  module.filename = path;
  module.loaded = true;
  module.exports = new Proxy(Object.create(null) as object, {
    get: (_target, name) => {
      if (typeof name === "symbol" || ["__esModule", "then", "default"].includes(name)) return undefined;
      throw new Error(`${NATIVE} (${name}) is not installed; this service does not encrypt`);
    },
  });
  sdk.cache[path] = module;
}
