/** One lookup answer taken apart: every bit of it, and every part of it from another user, epoch, version or log. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeUnpadded, encodeUnpadded } from "../../shared/encoding.ts";
import { parseLookupAnswer } from "../../shared/messages.ts";
import type { LookupAnswer } from "../../shared/messages.ts";
import { verifyHead } from "../../shared/proofs/head.ts";
import { verifyUser } from "../../shared/proofs/lookup.ts";
import type { VerifiedLookup } from "../../shared/proofs/lookup.ts";
import { verifySettlingRecords } from "../../shared/proofs/settling.ts";
import type { VerdictCode } from "../../shared/verdict-codes.ts";
import { VerificationError } from "../../shared/errors.ts";
import { target as lookupTarget } from "../fuzz/targets/lookup.ts";
import { flippedBits } from "../support/mutations.ts";
import { TestLog } from "../support/test-log.ts";
import { TestUser } from "../support/test-user.ts";
import { codeOf } from "../support/verdicts.ts";

const ALICE = "@alice:example.org";
const BOB = "@bob:example.org";
/** Two seconds into a settling interval: epoch 8, with four versions of Alice, is a settling one, and not the last. */
const START_MS = 1_002_000;

function logOf(number: number): TestLog {
  const log = new TestLog({ startMs: START_MS, settleMs: 10_000, number });
  for (let epoch = 1; epoch <= 16; epoch++) {
    if (epoch % 2 === 1) log.setEntry(ALICE, new TestUser(ALICE, `A${epoch}`).entry());
    if (epoch % 3 === 1) log.setEntry(BOB, new TestUser(BOB, `B${epoch}`).entry());
    log.closeEpoch(START_MS + 1_000 * epoch);
  }
  return log;
}

const log = logOf(1);
const nowMs = log.newest.record.timestampMs;
const answer = log.lookup(ALICE);
const known = log.known(nowMs);
const head = verifyHead(known, log.head(), []);
const settling = verifySettlingRecords(head, log.settlingEpoch(), log.settlingRecords());
const index = log.indexOf(ALICE);

/** As a client takes an answer in: form first, then head and user. `again`: the index is known from before. */
function check(changed: LookupAnswer, again: boolean, userId = ALICE): VerifiedLookup {
  const parsed = parseLookupAnswer(changed);
  const sameHead = JSON.stringify(parsed.head) === JSON.stringify(answer.head);
  const under = sameHead ? head : verifyHead(known, parsed.head, []);
  return verifyUser(under, { settling, ...(again ? { index } : {}) }, userId, parsed.user);
}

/** The code of the refusal; `malformed` where the form alone is wrong, undefined where nothing is. */
function refusal(changed: LookupAnswer, again: boolean, userId = ALICE): VerdictCode | "malformed" | undefined {
  try {
    return codeOf(() => check(changed, again, userId));
  } catch (error) {
    if (error instanceof VerificationError && error.code === "malformed") return "malformed";
    throw error;
  }
}

type Path = readonly string[];

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, name) => (at as { readonly [name: string]: unknown })[name], value);
}

function withValue(path: Path, value: unknown): LookupAnswer {
  const copy = structuredClone(answer) as unknown as { [name: string]: unknown };
  const holder = valueAt(copy, path.slice(0, -1)) as { [name: string]: unknown };
  holder[path.at(-1)!] = value;
  return copy as unknown as LookupAnswer;
}

/** Each part with the codes by which it may be refused. */
const PARTS: readonly (readonly [path: Path, codes: readonly (VerdictCode | "malformed")[]])[] = [
  [
    ["head", "record"],
    ["record-not-last", "record-invalid"],
  ],
  [["head", "record_proof"], ["record-not-last"]],
  [["user", "vrf_proof"], ["index-proof"]],
  [
    ["user", "map_proof"],
    ["map-proof", "bad-answer"],
  ],
  [["user", "leaf", "history_root"], ["map-proof"]],
  [["user", "leaf", "last_leaf_proof"], ["history-leaf"]],
  [["user", "leaf", "commitment"], ["history-leaf"]],
  [["user", "leaf", "opening"], ["commitment"]],
  [
    ["user", "settling", "map_proof"],
    ["map-proof", "bad-answer"],
  ],
  [["user", "settling", "leaf", "history_root"], ["map-proof"]],
  [["user", "settling", "leaf", "consistency"], ["history-unproven"]],
];

describe("a lookup answer", () => {
  it("is taken as it is", () => {
    assert.equal(refusal(answer, false), undefined);
    assert.equal(answer.user.settling.leaf!.n < answer.user.leaf!.n, true);
  });

  for (const [path, codes] of PARTS) {
    it(`is refused with any bit of ${path.join(".")} changed: ${codes.join(", ")}`, function () {
      this.timeout(120_000);
      const again = path.at(-1) !== "vrf_proof";
      for (const { name, value } of flippedBits(decodeUnpadded(valueAt(answer, path) as string))) {
        const code = refusal(withValue(path, encodeUnpadded(value)), again);
        assert(code !== undefined && codes.includes(code), `${name}: ${String(code)}`);
      }
    });
  }

  it("is refused with any bit of the checkpoint's characters, and of the entry's, changed", function () {
    this.timeout(120_000);
    for (const [path, codes] of [
      [
        ["head", "checkpoint"],
        ["head-signature", "head-origin", "bad-answer", "malformed"],
      ],
      [
        ["user", "leaf", "entry"],
        ["commitment", "malformed"],
      ],
    ] as const) {
      const text = valueAt(answer, path) as string;
      for (let at = 0; at < text.length; at++) {
        const changed =
          text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ (1 << (at % 7))) + text.slice(at + 1);
        const code = refusal(withValue(path, changed), true);
        assert(code !== undefined && (codes as readonly string[]).includes(code), `${path.join(".")} ${at}: ${code}`);
      }
    }
  });

  it("is refused with any number in it changed", () => {
    const numbers: readonly (readonly [Path, VerdictCode])[] = [
      [["user", "leaf", "n"], "map-proof"],
      [["user", "leaf", "epoch"], "history-leaf"],
      [["user", "settling", "epoch"], "settle-overdue"],
      [["user", "settling", "leaf", "n"], "map-proof"],
    ];
    for (const [path, code] of numbers) {
      const number = valueAt(answer, path) as number;
      for (const other of [number - 1, number + 1, number + 256, 2 ** 53 - 1]) {
        const refused = refusal(withValue(path, other), true);
        assert(refused === code || refused === "malformed", `${path.join(".")} ${other}: ${String(refused)}`);
      }
    }
  });

  it("is refused with any part from another user, another epoch, another version or another log", () => {
    const other = logOf(2);
    const donors: readonly (readonly [string, LookupAnswer])[] = [
      ["another user", log.lookup(BOB)],
      ["another epoch and version", log.lookup(ALICE, log.size - 2)],
      ["another user and epoch", log.lookup(BOB, log.size - 3)],
      ["another log", other.lookup(ALICE)],
      ["another log and user", other.lookup(BOB)],
    ];
    const allParts: readonly Path[] = [
      ...PARTS.map(([path]) => path),
      ["head", "checkpoint"],
      ["head"],
      ["user"],
      ["user", "leaf"],
      ["user", "leaf", "entry"],
      ["user", "settling"],
      ["user", "settling", "leaf"],
    ];
    let transplants = 0;
    for (const [name, donor] of donors) {
      for (const path of allParts) {
        const given = valueAt(donor, path);
        if (JSON.stringify(given) === JSON.stringify(valueAt(answer, path))) continue;
        transplants += 1;
        for (const again of [false, true]) {
          const code = refusal(withValue(path, given), again);
          // An older part would be true under the head of its own epoch.
          assert(code !== undefined, `${path.join(".")} of ${name}`);
        }
      }
    }
    assert(transplants > 70, String(transplants));
    assert.equal(refusal(answer, false, BOB), "index-proof");
  });

  it("says the same to everybody who takes it, whatever was done to it", () => {
    fc.assert(
      fc.property(fc.nat(23), fc.uint8Array({ minLength: 3, maxLength: 24 }), (mode, edits) => {
        assert.equal(lookupTarget.run(Uint8Array.of(mode, ...edits)), undefined);
      }),
      { numRuns: 300 },
    );
  });
});
