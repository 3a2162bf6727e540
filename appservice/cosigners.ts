/** Asks witnesses to cosign a head before it is published. */
import { appendSignature, parseVkey, type NoteKey } from "../shared/crypto/signed-note.ts";
import { openCosignatures } from "../shared/crypto/cosignature.ts";
import { encodeBase64 } from "../shared/encoding.ts";
import { VerificationError } from "../shared/errors.ts";
import type { Clock } from "./clock.ts";
import type { WitnessSetting } from "./config.ts";
import type { Logger } from "./logger.ts";
import { readText } from "./read-text.ts";

const REQUEST_TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 16_384;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;

/** The consistency path of our log from `oldSize` to the head in question. */
export type ConsistencyFrom = (oldSize: number) => Promise<readonly Uint8Array[]>;

/** A witness knows more of this log than we do: our store was taken back. Signing must stop. */
export class AheadError extends Error {
  override readonly name = "AheadError";
  readonly exitCode = 70;
}

export class Cosigners {
  readonly #witnesses: readonly { readonly key: NoteKey; readonly url: string; size: number }[];
  readonly #clock: Clock;
  readonly #logger: Logger;

  /** Throws VerificationError when a verifier key is none. */
  constructor(settings: readonly WitnessSetting[], clock: Clock, logger: Logger) {
    this.#witnesses = settings.map(({ vkey, url }) => ({ key: parseVkey(vkey), url, size: 0 }));
    this.#clock = clock;
    this.#logger = logger;
  }

  /**
   * The note with a cosignature of every witness; waits for those that fail until `signal` is aborted (then it throws the
   * signal's reason). Throws AheadError. `size` is the checkpoint's.
   */
  async cosign(note: string, size: number, consistency: ConsistencyFrom, signal: AbortSignal): Promise<string> {
    const lines = await Promise.all(
      this.#witnesses.map(async (witness) => await this.#ask(witness, note, size, consistency, signal)),
    );
    return lines.reduce(appendSignature, note);
  }

  async #ask(
    witness: { readonly key: NoteKey; readonly url: string; size: number },
    note: string,
    size: number,
    consistency: ConsistencyFrom,
    signal: AbortSignal,
  ): Promise<string> {
    for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(2 * waitMs, RETRY_LAST_MS)) {
      signal.throwIfAborted();
      if (witness.size > size) {
        throw new AheadError(`${witness.key.name} has cosigned ${witness.size} epochs of this log, which has ${size}`);
      }
      const answer = await this.#request(
        witness,
        note,
        witness.size === 0 ? [] : await consistency(witness.size),
        signal,
      );
      if (answer.kind === "line") {
        witness.size = size;
        return answer.line;
      }
      if (answer.kind === "size" && answer.size !== witness.size) {
        witness.size = answer.size;
        continue;
      }
      this.#logger.warn({ witness: witness.key.name, reason: answer.kind }, "a witness does not cosign");
      await this.#clock.sleep(waitMs, signal);
    }
  }

  async #request(
    { key, url, size }: { readonly key: NoteKey; readonly url: string; readonly size: number },
    note: string,
    proof: readonly Uint8Array[],
    signal: AbortSignal,
  ): Promise<{ kind: "line"; line: string } | { kind: "size"; size: number } | { kind: "failed" }> {
    const body = [`old ${size}`, ...proof.map((hash) => encodeBase64(hash)), "", note].join("\n");
    try {
      const timeout = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
      const response = await fetch(`${url}/add-checkpoint`, {
        method: "POST",
        body,
        redirect: "error",
        signal: timeout,
      });
      const text = await readText(response, MAX_ANSWER_BYTES);
      if (response.status === 409 && /^[0-9]{1,15}\n?$/.test(text)) return { kind: "size", size: Number(text) };
      return response.ok ? { kind: "line", line: lineOf(text, note, key) } : { kind: "failed" };
    } catch {
      return { kind: "failed" };
    }
  }
}

/** The line by which `key` cosigned this note. Throws VerificationError. */
function lineOf(lines: string, note: string, key: NoteKey): string {
  for (const line of lines.split("\n").filter((text) => text !== "")) {
    const cosigned = appendSignature(note, line);
    if (openCosignatures(cosigned, [key]).length > 0) return line;
  }
  throw new VerificationError("bad-signature", "the answer has no cosignature of this witness");
}
