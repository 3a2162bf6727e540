import { hashPair } from "../../appservice/store/unrolled-sha256.ts";

/** Tree nodes hashed per second by one thread: what other figures of the same run are to be held against. */
export function calibrate(): number {
  const words = new Int32Array(24);
  const rates = Array.from({ length: 5 }, () => {
    const [count, started] = [200_000, performance.now()];
    for (let i = 0; i < count; i++) hashPair(3, words, 0, 8, words, 16);
    return (count / (performance.now() - started)) * 1_000;
  });
  return Math.max(...rates);
}
