import { readdirSync } from "node:fs";
import { join } from "node:path";
import { readInputs } from "./inputs.ts";
import { assertUnpolluted } from "./target.ts";
import type { FuzzTarget } from "./target.ts";

describe("fuzz inputs: seeds, corpus and former findings", () => {
  for (const file of readdirSync(join(import.meta.dirname, "targets"))) {
    const name = file.replace(/\.ts$/, "");
    it(name, async () => {
      const { target } = (await import(`./targets/${file}`)) as { readonly target: FuzzTarget };
      for (const input of [...target.seeds(), ...readInputs("corpus", name), ...readInputs("regressions", name)]) {
        await target.run(input);
      }
      assertUnpolluted();
    });
  }
});
