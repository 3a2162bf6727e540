/** What a log says about itself; its hash stands in every epoch record. shared/README.md, "Configuration". */
import { checkVrfKey } from "../crypto/vrf.ts";
import { parseVkey } from "../crypto/signed-note.ts";
import { canonicalJson, decodeUnpadded, parseJson, taggedHash, utf8 } from "../encoding.ts";
import type { JsonValue } from "../encoding.ts";
import type { Hash } from "../crypto/hash.ts";
import { VerificationError } from "../errors.ts";
import { serverOfOrigin } from "../log/checkpoint.ts";
import { parseShape } from "../messages.ts";
import type { ObjectShape, Shape, StringShape } from "../messages.ts";
import { MAX_JSON_DEPTH, MERGE_DELAY_MAX_MS, SETTLE_MAX_MS, SETTLE_MIN_MS } from "../parameters.ts";

/** Another log, by its origin and verifier key. */
export interface LogReference {
  readonly origin: string;
  readonly log_key: string;
}

export interface Configuration {
  readonly format_version: 1;
  readonly origin: string;
  /** Verifier key of the checkpoints; its name is the origin. */
  readonly log_key: string;
  /** Unpadded base64. */
  readonly vrf_key: string;
  readonly vrf_suite: "ECVRF-EDWARDS25519-SHA512-TAI";
  readonly settle_ms: number;
  readonly merge_delay_ms: number;
  readonly heartbeat_ms: number;
  /** Verifier key of the promises; its name is the origin and `/promise`. */
  readonly promise_key: string;
  readonly service_url: string;
  readonly rooms: { readonly epochs: string; readonly members: string };
  /** Verifier keys on offer; which of them count is the client's policy. */
  readonly witnesses: readonly string[];
  readonly auditors: readonly string[];
  readonly predecessor?: LogReference;
  readonly successor?: LogReference;
}

const MAX_CONFIGURATION_BYTES = 16_384;
const string = (maxLength: number): StringShape => ({ type: "string", minLength: 1, maxLength });
const keys: Shape = { type: "array", items: string(512), maxItems: 16 };
const object = (properties: { readonly [name: string]: Shape }, optional: readonly string[] = []): ObjectShape => ({
  type: "object",
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  additionalProperties: false,
});
const reference = object({ origin: string(300), log_key: string(512) });

/** Shape of a configuration, for the OpenAPI document and the parser. */
export const CONFIGURATION_SHAPE: Shape = object(
  {
    format_version: { type: "integer", minimum: 1, maximum: 1 },
    origin: string(300),
    log_key: string(512),
    vrf_key: { type: "string", contentEncoding: "base64", minLength: 43, maxLength: 43 },
    vrf_suite: { ...string(64), enum: ["ECVRF-EDWARDS25519-SHA512-TAI"] },
    settle_ms: { type: "integer", minimum: SETTLE_MIN_MS, maximum: SETTLE_MAX_MS },
    merge_delay_ms: { type: "integer", minimum: 1, maximum: MERGE_DELAY_MAX_MS },
    heartbeat_ms: { type: "integer", minimum: 1, maximum: MERGE_DELAY_MAX_MS },
    promise_key: string(512),
    service_url: string(2_048),
    rooms: object({ epochs: string(255), members: string(255) }),
    witnesses: keys,
    auditors: keys,
    predecessor: reference,
    successor: reference,
  },
  ["predecessor", "successor"],
);

/** The configuration of a canonical JSON text. Throws `malformed`; `bad-signature` or `bad-vrf` for keys that are none. */
export function parseConfiguration(text: string): Configuration {
  const value = parseJson(text, { maxBytes: MAX_CONFIGURATION_BYTES, maxDepth: MAX_JSON_DEPTH });
  if (canonicalJson(value) !== text) throw malformed("a configuration is not canonical JSON");
  const configuration = parseShape(CONFIGURATION_SHAPE, value, "configuration") as Configuration;
  checkNames(configuration);
  checkVrfKey(decodeUnpadded(configuration.vrf_key));
  const distinct = new Set(
    [configuration.log_key, configuration.promise_key].map((key) => parseVkey(key).publicKey.join()),
  );
  if (distinct.size < 2) throw malformed("a configuration gives one key two meanings");
  for (const key of [...configuration.witnesses, ...configuration.auditors]) parseVkey(key);
  return configuration;
}

/** The names of keys are the origins they sign for, here and in the neighbours. */
function checkNames(configuration: Configuration): void {
  const { origin, log_key, promise_key, predecessor, successor } = configuration;
  serverOfOrigin(origin);
  if (parseVkey(promise_key).name !== `${origin}/promise`) throw malformed("the promise key has another name");
  for (const log of [{ origin, log_key }, predecessor, successor]) {
    if (log !== undefined && parseVkey(log.log_key).name !== log.origin) throw malformed("a log key has another name");
  }
}

/** The canonical text of a configuration. */
export function formatConfiguration(configuration: Configuration): string {
  const { rooms, predecessor, successor, ...rest } = configuration;
  const value: { readonly [name: string]: JsonValue } = {
    ...rest,
    rooms: { ...rooms },
    ...(predecessor === undefined ? {} : { predecessor: { ...predecessor } }),
    ...(successor === undefined ? {} : { successor: { ...successor } }),
  };
  return canonicalJson(value);
}

/** What stands in epoch records for a configuration. */
export function configurationHash(text: string): Hash {
  return taggedHash("ckv/configuration/v1", utf8(text));
}

const FIXED = ["format_version", "origin", "log_key", "vrf_key", "vrf_suite", "settle_ms"] as const;
const SHRINKING = ["merge_delay_ms", "heartbeat_ms"] as const;

/** The first member of `next` that a change may not touch, or may only shrink; undefined when the change is allowed. */
export function fixedFieldChanged(previous: Configuration, next: Configuration): string | undefined {
  return (
    FIXED.find((field) => previous[field] !== next[field]) ?? SHRINKING.find((field) => next[field] > previous[field])
  );
}

/** Returns `next` if a log may go over to it from `previous`, else throws `malformed` that names the field. */
export function checkConfigurationChange(previous: Configuration, next: Configuration): Configuration {
  const field = fixedFieldChanged(previous, next);
  if (field !== undefined) throw malformed(`${field} of a log can't change like this`);
  return next;
}

function malformed(message: string): VerificationError {
  return new VerificationError("malformed", message);
}
