/** Long work in short pieces, so that the host's page stays alive whatever a server sends. */
import { REMEMBERING_CHECKS } from "../shared/crypto/ed25519.ts";
import type { Ed25519Checks } from "../shared/crypto/ed25519.ts";
import { readEntry } from "../shared/directory/entry.ts";
import { utf8 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";

/** Signatures checked before the host gets its turn: some milliseconds. Fewer are left to `readEntry`. */
const SIGNATURES_AT_A_TIME = 16;

/**
 * Checks the signatures of an entry beforehand, a few at a time; that they hold is remembered, so that `readEntry`, which
 * judges, then takes little time. An entry of a hundred devices has two hundred. Judges nothing itself.
 */
export async function checkSignaturesAhead(entry: string | undefined): Promise<void> {
  if (entry === undefined) return;
  const found: Parameters<Ed25519Checks["verify"]>[] = [];
  const collect: Ed25519Checks = {
    checkPublicKey: (publicKey) => publicKey,
    verify: (...signature) => {
      found.push(signature);
    },
  };
  try {
    readEntry(utf8(entry), collect);
    while (found.length > SIGNATURES_AT_A_TIME) {
      await othersTurn();
      for (const signature of found.splice(-SIGNATURES_AT_A_TIME)) REMEMBERING_CHECKS.verify(...signature);
      if (found.length <= SIGNATURES_AT_A_TIME) await othersTurn();
    }
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
  }
}

/** Resolves once everything else that is due has had its turn. Timers would wait for milliseconds where tabs are hidden. */
export async function othersTurn(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  await new Promise<void>((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
