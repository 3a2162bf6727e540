import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError, loadConfig, parseConfig } from "../../appservice/config.ts";

const GOOD = `homeserver:
  url: http://127.0.0.1:8008
  server_name: example.org
registration: registration.yaml
data: data
anchor: anchor/head
keys: keys.json
listeners:
  appservice: { port: 9009 }
  api: { host: "0.0.0.0", port: 9010 }
  metrics: { port: 9011 }
service_url: https://ckv.example.org
`;

function problemsOf(source: string, env: NodeJS.ProcessEnv = {}): readonly string[] {
  try {
    parseConfig(source, "config.yaml", env);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message.split("\n");
  }
  assert.fail("the configuration was accepted");
}

describe("config", () => {
  it("takes a minimal file and fills in the rest", () => {
    const config = parseConfig(GOOD, "config.yaml", {});
    assert.deepEqual(config.homeserver, { url: "http://127.0.0.1:8008", serverName: "example.org" });
    assert.deepEqual(config.listeners.appservice, { host: "127.0.0.1", port: 9009 });
    assert.equal(config.log.level, "info");
    assert.equal(config.feed.sweepIntervalMs, 900_000);
    assert.equal(config.access.changeLists, "public");
  });

  it("tells every error at once, with its line", () => {
    const source = GOOD.replace("port: 9010", "port: 99999")
      .replace("https://ckv", "ftp://ckv")
      .replace("keys: keys.json\n", "");
    assert.deepEqual(problemsOf(`${source}log: { level: loud }\n`), [
      "config.yaml: keys is missing (or set CKV_KEYS)",
      "config.yaml:9: listeners.api.port must be a whole number from 0 to 65535",
      "config.yaml:11: service_url must be an http or https URL without trailing slash, query or password",
      "config.yaml:12: log.level must be one of error, warn, info, debug",
    ]);
  });

  it("names the nearest key for an unknown one", () => {
    assert.deepEqual(
      problemsOf(GOOD.replace("  server_name", "  server_nmae").replace("registration:", "registation:")),
      [
        "config.yaml:4: unknown key registation; did you mean registration?",
        "config.yaml:3: unknown key homeserver.server_nmae; did you mean homeserver.server_name?",
        "config.yaml: homeserver.server_name is missing (or set CKV_HOMESERVER_SERVER_NAME)",
        "config.yaml: registration is missing (or set CKV_REGISTRATION)",
      ],
    );
  });

  it("lets the environment win, and notices a mistyped variable", () => {
    const config = parseConfig(GOOD, "config.yaml", { CKV_LISTENERS_API_PORT: "0", CKV_SYNAPSE_CMD: "unrelated" });
    assert.equal(config.listeners.api.port, 0);
    assert.deepEqual(problemsOf(GOOD, { CKV_SERVICE_URI: "https://x.org" }), [
      "config.yaml: unknown environment variable CKV_SERVICE_URI; did you mean CKV_SERVICE_URL?",
    ]);
    assert.deepEqual(problemsOf(GOOD, { CKV_LISTENERS_API_PORT: "http" }), [
      "config.yaml: CKV_LISTENERS_API_PORT must be a whole number from 0 to 65535",
    ]);
  });

  for (const [name, change] of Object.entries({
    "a section that is none": [/listeners:[^]*service_url/, "listeners: 5\nservice_url"],
    "a doubled key": ["data: data", "data: data\ndata: other"],
    "a URL with a password": ["https://ckv.", "https://u:p@ckv."],
    "a URL with a trailing slash": ["ckv.example.org", "ckv.example.org/"],
    "a witness without URL": ["data: data", "witnesses: [{ vkey: x }]\ndata: data"],
    "no YAML": ["homeserver:", "homeserver: ]["],
    "a list of change-list readers that are no users": ["data: data", "access: { change_lists: [alice] }\ndata: data"],
  } as Record<string, [string | RegExp, string]>)) {
    it(`refuses ${name}`, () => {
      assert.notEqual(problemsOf(GOOD.replace(...change)).length, 0);
    });
  }

  it("takes paths as relative to the file, and says what to do when there is none", () => {
    const directory = mkdtempSync(join(tmpdir(), "ckv-config-"));
    const file = join(directory, "config.yaml");
    assert.throws(() => loadConfig(file, {}), /cannot be read \(ENOENT\); matrix-ckv init makes one/);
    writeFileSync(file, GOOD);
    assert.equal(loadConfig(file, {}).anchor, join(directory, "anchor/head"));
    rmSync(directory, { recursive: true });
  });
});
