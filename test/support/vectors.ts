import { existsSync, readFileSync } from "node:fs";

const FROZEN = new URL("../vectors/", import.meta.url);
const BESIDE = new URL("../../../shared/vectors/", import.meta.url);

/** Frozen vectors of `test/vectors`. Their shape is the caller's claim. */
export function frozenVectors(name: string): unknown {
  return JSON.parse(readFileSync(new URL(name, FROZEN), "utf8"));
}

/** Larger sets that may lie beside the project, in `../shared/vectors`; the test is skipped, saying so, where they do not. */
export function itWithVectors(title: string, name: string, run: (vectors: unknown) => void): void {
  const file = new URL(name, BESIDE);
  if (!existsSync(file)) {
    it.skip(`${title} (skipped: no ../shared/vectors/${name})`);
    return;
  }
  it(title, () => {
    run(JSON.parse(readFileSync(file, "utf8")));
  });
}
