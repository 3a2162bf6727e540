import assert from "node:assert/strict";
import { parseBucket } from "../../../client-plugin/contacts.ts";
import { ALICE } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { assertUnpolluted, seedsOf, textOf, unlessRefused } from "../target.ts";

const record = { writer: "PHONE", counter: 1, atMs: 1, userId: ALICE };

/** A bucket of account state, decrypted: records whose common members are checked, or `malformed`. */
export const target: FuzzTarget = {
  seeds: () =>
    seedsOf(
      {
        writer: "PHONE",
        counter: 3,
        records: [
          { ...record, kind: "pin", masterKey: "k", method: "code" },
          { ...record, kind: "warning", id: "i", code: "head-fork", class: "evidence", sinceMs: 1 },
          { ...record, kind: "attempt" },
          { ...record, kind: "unknown" },
        ],
      },
      '{"writer":"x","counter":1,"records":[null,1,[],{"__proto__":{}}]}',
      "null",
      "[]",
    ),
  run(input) {
    const bucket = unlessRefused(() => parseBucket("org.matrix-ckv.state.0", textOf(input)), "malformed");
    for (const { writer, counter, atMs } of bucket?.records ?? []) {
      assert(typeof writer === "string" && Number.isSafeInteger(counter) && Number.isSafeInteger(atMs));
    }
    assertUnpolluted();
  },
};
