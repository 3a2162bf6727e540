import assert from "node:assert/strict";
import fc from "fast-check";
import {
  checkConfigurationChange,
  configurationHash,
  formatConfiguration,
  parseConfiguration,
} from "../../../shared/directory/configuration.ts";
import type { Configuration } from "../../../shared/directory/configuration.ts";
import { encodeUnpadded } from "../../../shared/encoding.ts";
import { assertOnlyMalformed, assertRefused } from "../../support/mutations.ts";
import { TestLog } from "../../support/test-log.ts";

const log = new TestLog();
const other = new TestLog({ number: 2 });
const { configuration, configurationText: text } = log;
const changed = (change: Partial<Configuration>): string => formatConfiguration({ ...configuration, ...change });

describe("configuration", () => {
  it("has one text, and a hash of it", () => {
    assert.equal(formatConfiguration(parseConfiguration(text)), text);
    assert.notDeepEqual(configurationHash(text), configurationHash(changed({ merge_delay_ms: 1_000 })));
    assertRefused(() => parseConfiguration(` ${text}`), "malformed", "not canonical");
    assertRefused(() => parseConfiguration(text.replace("{", '{"aaa":1,')), "malformed", "unknown member");
  });

  it("refuses what no log can be", () => {
    const refused: Record<string, Partial<Configuration>> = {
      "other format": { format_version: 2 as 1 },
      "no origin": { origin: "example.org" },
      "log 0": { origin: "example.org/ckv/0" },
      "log key of another origin": { log_key: other.vkey },
      "promise key of another name": { promise_key: log.vkey },
      "other suite": { vrf_suite: "ECVRF-P256-SHA256-TAI" as "ECVRF-EDWARDS25519-SHA512-TAI" },
      "settling below 10 s": { settle_ms: 9_999 },
      "settling above 24 h": { settle_ms: 86_400_001 },
      "merge delay over 24 h": { merge_delay_ms: 86_400_001 },
      "successor under another name": { successor: { origin: "example.org/ckv/3", log_key: other.vkey } },
      "witness that is no key": { witnesses: ["x"] },
    };
    for (const [name, change] of Object.entries(refused)) {
      assertRefused(() => parseConfiguration(changed(change)), "malformed", name);
    }
  });

  it("refuses VRF keys of small order and in other encodings", () => {
    const one = new Uint8Array(32).with(0, 1);
    const zero = new Uint8Array(32);
    const minusOne = new Uint8Array(32).fill(0xff).with(0, 0xec).with(31, 0x7f);
    const nonCanonical = new Uint8Array(32).fill(0xff).with(0, 0xee).with(31, 0x7f);
    for (const key of [one, zero, minusOne, nonCanonical]) {
      assertRefused(() => parseConfiguration(changed({ vrf_key: encodeUnpadded(key) })), "bad-vrf");
    }
  });

  it("keeps what is fixed for life, and lets delays shrink alone", () => {
    const fixed: readonly Partial<Configuration>[] = [
      { vrf_key: other.configuration.vrf_key },
      { settle_ms: 20_000 },
      { merge_delay_ms: configuration.merge_delay_ms + 1 },
      { heartbeat_ms: configuration.heartbeat_ms + 1 },
    ];
    for (const change of fixed) {
      const next = parseConfiguration(changed(change));
      assertRefused(() => checkConfigurationChange(configuration, next), "malformed", JSON.stringify(change));
    }
    assertRefused(() => checkConfigurationChange(configuration, other.configuration), "malformed", "other log");
    const allowed: readonly Partial<Configuration>[] = [
      { merge_delay_ms: 1_000 },
      { heartbeat_ms: 1_000 },
      { service_url: "https://elsewhere.example" },
      { witnesses: [] },
      { successor: { origin: other.origin, log_key: other.vkey } },
    ];
    for (const change of allowed) checkConfigurationChange(configuration, parseConfiguration(changed(change)));
  });

  it("parses random texts or calls them malformed", () => {
    assertOnlyMalformed(fc.string(), parseConfiguration);
    assertOnlyMalformed(fc.json(), parseConfiguration);
  });
});
