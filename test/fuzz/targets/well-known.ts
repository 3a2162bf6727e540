import assert from "node:assert/strict";
import { checkTransport } from "../../../client-plugin/log-client.ts";
import { parseWellKnown } from "../../../shared/messages.ts";
import { testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { hostJson, seedsOf, textOf, unlessRefused } from "../target.ts";

const urls = [
  "https://ckv.example.org",
  "http://127.0.0.1:8080/ckv",
  "http://[::1]:1/a/b",
  "https://x:99999",
  "https://[",
];
const wellKnown = (service_url: string): object => ({
  service_url,
  room: "#ckv:example.org",
  log_key: testLog().vkey,
});

/** The member of `.well-known/matrix/client`, or its service URL alone. What is taken is a URL, encrypted but on loopback. */
export const target: FuzzTarget = {
  seeds: () => seedsOf(...urls.map(wellKnown), ...urls, { ...wellKnown("https://x"), extra: [] }),
  run(input) {
    for (const value of [hostJson(input), wellKnown(textOf(input))]) {
      const parsed = unlessRefused(() => checkTransport(parseWellKnown(value)), "malformed");
      if (parsed === undefined) continue;
      const { protocol, hostname } = new URL(`${parsed.service_url}/v1/lookup`);
      const loopback = /^(localhost|127\.[0-9.]+|\[::1\]|.*\.localhost)$/.test(hostname);
      assert(protocol === "https:" || (protocol === "http:" && loopback), `${protocol}//${hostname}`);
      assert.deepEqual(parseWellKnown(parsed), parsed);
    }
  },
};
