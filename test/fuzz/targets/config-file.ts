import assert from "node:assert/strict";
import { ConfigError, parseConfig } from "../../../appservice/config.ts";
import type { Config } from "../../../appservice/config.ts";
import { parseRegistration } from "../../../appservice/registration.ts";
import type { FuzzTarget } from "../target.ts";
import { assertUnpolluted, seedsOf, textOf } from "../target.ts";

const CONFIG = `homeserver: {url: http://127.0.0.1:8008, server_name: example.org}
registration: r.yaml
data: data
anchor: anchor
keys: keys
service_url: https://ckv.example.org
listeners:
  appservice: {port: 1}
  api: {host: "::1", port: 2}
  metrics: {port: 0}
witnesses: [{vkey: a, url: https://w}]
access: {change_lists: ["@a:b"], servers: {b.org: https://b}, erase: true}
`;
const SECRET = "s3cr3t-0123456789";

/** The operator's files. All that is wrong is told as ConfigError with its line; a registration never shows its tokens. */
export const target: FuzzTarget = {
  seeds: () =>
    seedsOf(
      CONFIG,
      "a: &a [1]\nb: *a\n? [x]\n: y\n__proto__: {polluted: 1}\n",
      `id: ckv\nurl: http://x\nas_token: "${SECRET}"\nhs_token: "${SECRET}"\nsender_localpart: ckv\n`,
      `as_token: "${SECRET}\nhs_token: ${SECRET}: : x`,
      "%YAML 1.2\n---\n!!map {a: !!binary aGk=, <<: {b: 1}}\n--- x\n",
    ),
  run(input) {
    const text = textOf(input);
    const config = unlessConfigError(text);
    if (config !== undefined) {
      assert.equal(typeof config.homeserver.url, "string");
      assert(Number.isSafeInteger(config.listeners.api.port));
    }
    try {
      assert.equal(typeof parseRegistration(text).hsToken, "string");
    } catch (error) {
      assert(error instanceof Error && !String(error).includes(SECRET), "an error shows a token");
    }
    assertUnpolluted();
  },
};

function unlessConfigError(text: string): Config | undefined {
  try {
    return parseConfig(text, "config.yaml", {});
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    assert(error.problems.length > 0);
    for (const { file, message, line } of error.problems) {
      assert(file === "config.yaml" && message !== "" && (line ?? 1) >= 1);
    }
    return undefined;
  }
}
