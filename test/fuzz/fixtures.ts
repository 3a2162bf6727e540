/** A small log of two users, made once, with keys that depend on names alone: the same in every run. */
import { cosign } from "../../shared/crypto/cosignature.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { appendSignature, COSIGNATURE_KEY, noteKeyOf } from "../../shared/crypto/signed-note.ts";
import type { NoteKey } from "../../shared/crypto/signed-note.ts";
import { TestLog } from "../support/test-log.ts";
import { seedOf, TestUser } from "../support/test-user.ts";

export const ALICE = "@alice:example.org";
export const BOB = "@bob:example.org";
export const NOBODY = "@nobody:example.org";
export const START_MS = 1_000_000;

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

export const alice: () => TestUser = once(() => new TestUser(ALICE, "PHONE", "LAPTOP"));

/** Seven epochs, a second apart: Bob with one version, Alice with six, of which the last has a statement. */
export const testLog: () => TestLog = once(() => {
  const log = new TestLog({ startMs: START_MS, settleMs: 10_000 });
  log.setEntry(BOB, new TestUser(BOB, "B").entry());
  for (let version = 1; version <= 5; version++) {
    log.setEntry(ALICE, new TestUser(ALICE, `A${version}`).entry());
    log.closeEpoch(START_MS + 1_000 * version);
  }
  const since = { n: 5, root: seedOf("root") };
  log.setEntry(ALICE, alice().entry(alice().statement({ ckv: "on", counter: 1, since })));
  log.closeEpoch(START_MS + 6_000);
  return log;
});

export const WITNESS: NoteKey = noteKeyOf({
  name: "witness.example",
  type: COSIGNATURE_KEY,
  publicKey: publicKeyOf(seedOf("witness")),
});
export const COSIGNED_AT_S = 1_006;

/** The newest head with the witness's cosignature. */
export const cosignedNote: () => string = once(() => {
  const { note } = testLog().newest;
  return appendSignature(
    note,
    cosign(note, { name: WITNESS.name, seed: seedOf("witness"), timestampS: COSIGNED_AT_S }),
  );
});
