/** CRC-32C (Castagnoli), which LevelDB puts on everything in its files; zlib has only the other one. */

const POLYNOMIAL = 0x82f63b78;
/** TABLES[k][b]: what byte b does to the checksum when k bytes follow it. */
const TABLES = makeTables(8);

function makeTables(count: number): readonly Int32Array[] {
  const first = Int32Array.from({ length: 256 }, (_, byte) => {
    let state = byte;
    for (let bit = 0; bit < 8; bit++) state = state & 1 ? (state >>> 1) ^ POLYNOMIAL : state >>> 1;
    return state;
  });
  const tables = [first];
  while (tables.length < count) {
    const last = tables.at(-1) ?? first;
    tables.push(last.map((state) => (state >>> 8) ^ (first[state & 0xff] ?? 0)));
  }
  return tables;
}

const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/** The checksum of `bytes` from `start` up to `end`: a number of 32 bits without sign. */
export function crc32c(bytes: Uint8Array, start: number, end: number): number {
  let state = -1;
  let at = start;
  for (; at + 8 <= end; at += 8) {
    const low =
      state ^
      ((bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24));
    state =
      (T7[low & 0xff] as number) ^
      (T6[(low >>> 8) & 0xff] as number) ^
      (T5[(low >>> 16) & 0xff] as number) ^
      (T4[low >>> 24] as number) ^
      (T3[bytes[at + 4] as number] as number) ^
      (T2[bytes[at + 5] as number] as number) ^
      (T1[bytes[at + 6] as number] as number) ^
      (T0[bytes[at + 7] as number] as number);
  }
  for (; at < end; at++) state = (state >>> 8) ^ (T0[(state ^ (bytes[at] as number)) & 0xff] as number);
  return ~state >>> 0;
}

/** Whether the bytes from `start` up to some place not beyond `end` have this checksum. */
export function someStartHasCrc32c(bytes: Uint8Array, start: number, end: number, checksum: number): boolean {
  let state = -1;
  for (let at = start; at < end; at++) {
    state = (state >>> 8) ^ (T0[(state ^ (bytes[at] as number)) & 0xff] as number);
    if (~state >>> 0 === checksum) return true;
  }
  return false;
}
