import assert from "node:assert/strict";
import {
  configurationHash,
  fixedFieldChanged,
  formatConfiguration,
  parseConfiguration,
} from "../../../shared/directory/configuration.ts";
import { canonicalJson } from "../../../shared/encoding.ts";
import type { JsonValue } from "../../../shared/encoding.ts";
import { parseConfigurationContent } from "../../../shared/messages.ts";
import { Choices, edited } from "../edits.ts";
import { testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { hostJson, seedsOf, textOf, unlessRefused } from "../target.ts";

/** The state event, its text, or with a first byte below 8 a true configuration with edits. What parses has one form. */
export const target: FuzzTarget = {
  seeds: () => [
    ...seedsOf({ text: testLog().configurationText }, testLog().configurationText),
    ...[0, 1, 2].map((mode) => Uint8Array.of(mode, 0, 3, 1, 4, 2)),
  ],
  run(input) {
    const choices = new Choices(input);
    const content = unlessRefused(() => parseConfigurationContent(hostJson(input)), "malformed");
    const value = (): JsonValue => edited(JSON.parse(testLog().configurationText), choices) as JsonValue;
    const text = choices.u8() < 8 ? unlessRefused(() => canonicalJson(value()), "malformed") : undefined;
    for (const candidate of [content?.text, text, textOf(input)]) {
      if (candidate === undefined) continue;
      const configuration = unlessRefused(() => parseConfiguration(candidate), "malformed", "bad-signature", "bad-vrf");
      if (configuration === undefined) continue;
      assert.equal(formatConfiguration(configuration), candidate);
      assert.equal(configurationHash(candidate).length, 32);
      assert.equal(fixedFieldChanged(configuration, configuration), undefined);
      fixedFieldChanged(testLog().configuration, configuration);
    }
  },
};
