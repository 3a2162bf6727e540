/** The command line as an operator meets it: what it prints, and with which code it ends. */
import assert from "node:assert/strict";
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync, chmodSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parse } from "yaml";
import { mapOf, neededOptions } from "../../appservice/homeserver-options.ts";
import type { Yaml } from "../../appservice/homeserver-options.ts";
import { freePort } from "../support/port.ts";

const MAIN = join(import.meta.dirname, "../../appservice/main.ts");
const NODE_ARGUMENTS = ["--disable-warning=DEP0060", MAIN];

describe("main", function () {
  this.timeout(60_000);
  let directory: string;
  let init: readonly string[];
  let api: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), "ckv-main-"));
    const ports = { appservice: await freePort(), api: await freePort(), metrics: await freePort() };
    api = `http://127.0.0.1:${ports.api}`;
    init = [
      ...["init", "--yes", "--server-name", "example.org", "--homeserver-url", `http://127.0.0.1:${await freePort()}`],
      ...["--appservice-port", `${ports.appservice}`, "--api-port", `${ports.api}`],
      ...["--metrics-port", `${ports.metrics}`],
    ];
  });
  after(() => {
    rmSync(directory, { recursive: true });
  });

  interface Outcome {
    readonly code: number;
    readonly output: string;
  }

  async function ckv(...args: readonly string[]): Promise<Outcome> {
    return await new Promise((resolve) => {
      const child = execFile(
        process.execPath,
        [...NODE_ARGUMENTS, ...args],
        { cwd: directory },
        (_error, out, problems) => {
          resolve({ code: child.exitCode ?? -1, output: out + problems });
        },
      );
    });
  }

  async function running(work: () => Promise<void>): Promise<Outcome> {
    const child: ChildProcess = spawn(process.execPath, [...NODE_ARGUMENTS, "run"], { cwd: directory });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (text: Buffer) => (output += text.toString()));
    const exited = once(child, "exit");
    while (child.exitCode === null && !(await answers(`${api}/healthz`))) await delay(50);
    try {
      await work();
    } finally {
      child.kill("SIGTERM");
    }
    const [code] = (await exited) as [number | null];
    return { code: code ?? -1, output };
  }

  async function answers(url: string): Promise<boolean> {
    return await fetch(url).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  it("init needs the server's name, and keeps options in their bounds", async () => {
    assert.deepEqual(await ckv("init", "--yes"), { code: 78, output: "matrix-ckv: --server-name is needed\n" });
    for (const option of ["--settle-ms", "--heartbeat-ms", "--merge-delay-ms"]) {
      const { code, output } = await ckv(...init, option, "1");
      assert.ok(code === 78 && output.includes(`${option} must be a whole number from `), output);
    }
    assert.notEqual((await ckv(...init, "--settle-ms", "soon")).code, 0);
  });

  it("init makes everything, secrets for the owner alone", async () => {
    const { code, output } = await ckv(...init);
    assert.equal(code, 0, output);
    for (const secret of ["keys.json", "registration.yaml"]) {
      assert.equal(statSync(join(directory, secret)).mode & 0o777, 0o600, secret);
    }
    const lines = /restart Synapse:\n(.*)\nand, only to enrol every new account by itself:\n(.*)\nNext: /s.exec(output);
    assert.ok(lines !== null, output);
    const written = parse(lines.slice(1).join("\n")) as Yaml;
    const registrationFile = join(directory, "registration.yaml");
    for (const option of neededOptions({ serverName: "example.org", registrationFile, botLocalpart: "ckv" })) {
      assert.ok(option.isSet(written), option.subject);
    }
    assert.deepEqual(written["app_service_config_files"], [registrationFile]);
    assert.ok("org.matrix-ckv" in mapOf(written["extra_well_known_client_content"]));
  });

  it("init never overwrites", async () => {
    const keys = readFileSync(join(directory, "keys.json"), "utf8");
    const { code, output } = await ckv(...init);
    assert.ok(code === 78 && output.includes("nothing was changed"), output);
    assert.equal(readFileSync(join(directory, "keys.json"), "utf8"), keys);
  });

  it("fsck finds a new log sound", async () => {
    assert.deepEqual(await ckv("fsck"), { code: 0, output: "The log is sound.\n" });
  });

  it("run serves reads without a homeserver, once per log, and ends cleanly", async () => {
    const { code, output } = await running(async () => {
      const status = await ckv("status");
      assert.ok(status.code === 75 && status.output.includes("cannot be reached"), status.output);
      for (const command of ["run", "fsck"]) {
        const second = await ckv(command);
        assert.ok(second.code === 75 && second.output.includes("in use by process"), second.output);
      }
      assert.match((await ckv("close", "@a:example.org")).output, /no epoch can be closed now/);
      assert.match((await ckv("erase", "@a:example.org", "--from", "1", "--to", "2")).output, /erasing is off/);
    });
    assert.equal(code, 0, output);
    const secrets = readFileSync(join(directory, "registration.yaml"), "utf8").match(/[0-9a-f]{64}/g) ?? [];
    assert.equal(secrets.length, 2);
    assert.ok(secrets.every((secret) => !output.includes(secret)));
  });

  it("says what does not answer", async () => {
    for (const command of [["status"], ["close", "@a:example.org"]]) {
      const { code, output } = await ckv(...command);
      assert.ok(code === 75 && output.includes("nothing answers"), output);
    }
  });

  it("doctor says what to change, and where", async () => {
    const { code, output } = await ckv("doctor");
    assert.equal(code, 78);
    assert.match(output, /PROBLEM homeserver: .* config\.yaml: homeserver\.url/);
    assert.match(output, /msc3202_transaction_extensions: true/);
  });

  it("run refuses a configuration with all its errors, and keys that others can read", async () => {
    const file = join(directory, "bad.yaml");
    const good = readFileSync(join(directory, "config.yaml"), "utf8");
    writeFileSync(file, good.replace("level: info", "levle: info").replace("data:", "dta:"));
    const { code, output } = await ckv("run", "-c", "bad.yaml");
    assert.equal(code, 78);
    assert.match(output, /bad\.yaml:[0-9]+: unknown key dta; did you mean data\?/);
    assert.match(output, /bad\.yaml:[0-9]+: unknown key log\.levle; did you mean log\.level\?/);
    chmodSync(join(directory, "keys.json"), 0o644);
    assert.deepEqual([(await ckv("run")).code, (await ckv("doctor")).output.includes("chmod 600")], [78, true]);
    chmodSync(join(directory, "keys.json"), 0o600);
  });

  it("run never makes a database or an anchor", async () => {
    const away = join(directory, "away");
    renameSync(join(directory, "data"), away);
    const { code, output } = await ckv("run");
    renameSync(away, join(directory, "data"));
    assert.ok(code === 78 && output.includes("matrix-ckv init"), output);
    renameSync(join(directory, "anchor"), away);
    const { code: ended, output: told } = await running(async () => {
      assert.match(await (await fetch(`${api}/readyz`)).text(), /the anchor is missing/);
    });
    assert.match(told, /the anchor is missing/);
    assert.equal(ended, 0, "told to end as soon as it answers");
    assert.ok(!existsSync(join(directory, "anchor")));
    renameSync(away, join(directory, "anchor"));
    assert.equal((await ckv("fsck")).code, 0);
  });

  it("verify-evidence refuses what proves nothing", async () => {
    writeFileSync(join(directory, "evidence.json"), "{}");
    assert.notEqual((await ckv("verify-evidence", "evidence.json")).code, 0);
  });
});
