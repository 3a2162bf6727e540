import { randomFillSync } from "node:crypto";

const OPENING_BYTES = 32;
/** The host is asked for this many openings at once: each question costs more than its bytes. */
const DRAWN = 256;

const drawn = new Uint8Array(DRAWN * OPENING_BYTES);
let used = DRAWN;

/** 32 random bytes in memory of their own. What was handed out is wiped here. */
export function randomOpening(): Uint8Array {
  if (used === DRAWN) {
    randomFillSync(drawn);
    used = 0;
  }
  const at = used++ * OPENING_BYTES;
  const opening = drawn.slice(at, at + OPENING_BYTES);
  drawn.fill(0, at, at + OPENING_BYTES);
  return opening;
}
