/** Every refusal to start: with which code the process ends, or why nothing is signed; always a cause and a next step. */
import assert from "node:assert/strict";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ALL_FILES, NEEDED_TO_START } from "../../appservice/check-files.ts";
import { loadChecked } from "../../appservice/config.ts";
import { init } from "../../appservice/init.ts";
import { writeKeys } from "../../appservice/keys-file.ts";
import { startSequencer } from "../../appservice/sequencer.ts";
import { runService } from "../../appservice/service.ts";
import { openLevelStore } from "../../appservice/store/level-store.ts";
import { LAYOUT_KEY } from "../../appservice/store/records.ts";
import { publicKeyOf } from "../../shared/crypto/ed25519.ts";
import { ED25519_KEY, formatVkey } from "../../shared/crypto/signed-note.ts";
import { utf8 } from "../../shared/encoding.ts";
import { DAY_MS, HOUR_MS } from "../../shared/parameters.ts";
import { freePort } from "../support/port.ts";
import { ManualClock, randomKeys, START_MS } from "../support/own-log.ts";
import { TestUser } from "../support/test-user.ts";

const quiet = { error: () => undefined, warn: () => undefined, info: () => undefined, debug: () => undefined };

/** `exit`: the code; 0: the process runs, but signs nothing. */
interface Row {
  readonly fault: string;
  readonly exit: 0 | 70 | 75 | 78;
  readonly says: readonly RegExp[];
  readonly break: () => void | Promise<void>;
}

describe("refusals to start", function () {
  this.timeout(60_000);
  let root: string;
  let directory: string;
  let clock: ManualClock;
  let occupied: Server | undefined;
  const at = (name: string): string => join(directory, name);
  const config = (): string => at("config.yaml");
  const edit = (from: string | RegExp, to: string): void => {
    const text = readFileSync(config(), "utf8");
    assert.notEqual(text.replace(from, to), text, `nothing to replace by ${to}`);
    writeFileSync(config(), text.replace(from, to));
  };
  const removeFiles = (pattern: RegExp): void => {
    for (const name of readdirSync(at("data/db"))) if (pattern.test(name)) rmSync(at(`data/db/${name}`));
  };

  before(async () => {
    root = mkdtempSync(join(tmpdir(), "ckv-refusals-"));
    directory = join(root, "log");
    const ports = { appservice: 0, api: 0, metrics: 0 };
    const { files } = await init(
      {
        serverName: "example.org",
        homeserverUrl: `http://127.0.0.1:${await freePort()}`,
        serviceUrl: "https://ckv.example.org",
        appserviceUrl: "http://127.0.0.1:1",
        config: config(),
        data: "data",
        anchor: "anchor/head",
        settleMs: 10_000,
        heartbeatMs: 60_000,
        mergeDelayMs: 5_000,
        ports,
      },
      START_MS,
    );
    clock = new ManualClock();
    const grow = async (): Promise<void> => {
      const { sequencer } = await startSequencer({
        dataDirectory: files.data,
        anchorFile: files.anchor,
        keysFile: files.keys,
        clock,
        signal: new AbortController().signal,
        strictStart: false,
      });
      const entry = new TestUser("@a:example.org", `D${clock.now()}`).entry();
      await clock.runUntil(sequencer.submit({ userId: "@a:example.org", entry, observedMs: clock.now() }));
      await sequencer.close();
    };
    await grow();
    cpSync(files.data, join(root, "yesterday"), { recursive: true });
    await grow();
    await grow();
    renameSync(directory, join(root, "template"));
  });
  beforeEach(() => {
    cpSync(join(root, "template"), directory, { recursive: true });
  });
  afterEach(() => {
    occupied?.close();
    occupied = undefined;
    rmSync(directory, { recursive: true });
  });
  after(() => {
    rmSync(root, { recursive: true });
  });

  /** What `matrix-ckv run` does: its exit code and last words, or 0 and what `/readyz` says. */
  async function start(nowMs = clock.now()): Promise<{ readonly exit: unknown; readonly said: string }> {
    const end = new AbortController();
    try {
      const loaded = loadChecked(config(), {}, NEEDED_TO_START);
      const time = new ManualClock(nowMs);
      const service = await runService(loaded, { clock: time, logger: quiet, signal: end.signal });
      const said = service.notReady().join("\n");
      end.abort();
      await service.finished;
      return { exit: 0, said };
    } catch (error) {
      end.abort();
      const { exitCode, message } = error as { readonly exitCode?: unknown; readonly message: string };
      return { exit: exitCode, said: message };
    }
  }

  const vkeyOfLog = (): string =>
    formatVkey({ name: "w.example", type: ED25519_KEY, publicKey: publicKeyOf(new Uint8Array(32).fill(3)) });
  const rows: readonly Row[] = [
    {
      fault: "F09: the file that names the others is gone",
      exit: 78,
      says: [/CURRENT is lost/, /restore/],
      break: () => {
        removeFiles(/^CURRENT$/);
      },
    },
    {
      fault: "F10: another directory",
      exit: 78,
      says: [/nowhere.*no database|no log in .*nowhere/, /"data" of the configuration.*matrix-ckv init/],
      break: () => {
        edit(/^data: .*$/m, "data: nowhere");
      },
    },
    {
      fault: "F10: an empty directory",
      exit: 78,
      says: [/empty.* holds no database/, /"data" of the configuration.*matrix-ckv init/],
      break: () => {
        mkdirSync(at("empty"));
        edit(/^data: .*$/m, "data: empty");
      },
    },
    {
      fault: "F11: the MANIFEST is gone",
      exit: 70,
      says: [/can't be opened/, /never repair it, restore a backup/],
      break: () => {
        removeFiles(/^MANIFEST/);
      },
    },
    {
      fault: "F11: a table is gone",
      exit: 70,
      says: [/can't be opened/, /never repair it, restore a backup/],
      break: () => {
        removeFiles(/\.ldb$/);
      },
    },
    {
      fault: "F12: a database of a later version",
      exit: 78,
      says: [/made by a newer matrix-ckv/, /Next: run matrix-ckv 9\.9\.9 or newer/],
      break: async () => {
        const store = await openLevelStore(at("data/db"));
        await store.commit({ puts: [{ key: LAYOUT_KEY, value: utf8("matrix-ckv 9 since 9.9.9") }] });
        await store.close();
      },
    },
    {
      fault: "F16: yesterday's database",
      exit: 0,
      says: [/older than the anchor: it was rolled back \(it holds \d+ epochs, the anchor \d+\)/, /Next: .*restore/],
      break: () => {
        rmSync(at("data"), { recursive: true });
        cpSync(join(root, "yesterday"), at("data"), { recursive: true });
      },
    },
    {
      fault: "the anchor is gone",
      exit: 0,
      says: [/the anchor is missing/, /Next: bring the file back/],
      break: () => {
        rmSync(at("anchor"), { recursive: true });
      },
    },
    {
      fault: "the anchor of another log",
      exit: 78,
      says: [/holds no head that the key of example\.org\/ckv\/1 signed/, /Next: set "anchor"/],
      break: () => {
        writeFileSync(at("anchor/head"), "nothing\n");
      },
    },
    {
      fault: "F19: another signing key",
      exit: 78,
      says: [/the log key in the keys file does not match/, /Next: set "keys"/],
      break: () => {
        rmSync(at("keys.json"));
        writeKeys(at("keys.json"), randomKeys());
      },
    },
    {
      fault: "F20: the log of another server",
      exit: 78,
      says: [
        /the database is the log example\.org\/ckv\/1, but homeserver\.server_name is other\.org/,
        /Next: set "data"/,
      ],
      break: () => {
        edit('server_name: "example.org"', "server_name: other.org");
      },
    },
    {
      fault: "F39: a witness that can't cosign",
      exit: 78,
      says: [/config\.yaml:\d+: witnesses must be .*number 1 has no vkey of a cosigner/],
      break: () => {
        edit("witnesses: []", `witnesses: [{ vkey: ${vkeyOfLog()}, url: "https://w.example" }]`);
      },
    },
    {
      fault: "F72: a configuration with several errors, and files that can't be used",
      exit: 78,
      says: [
        /config\.yaml:\d+: unknown key log\.levle; did you mean log\.level\?/,
        /config\.yaml:\d+: service_url must be an https URL/,
        /config\.yaml:\d+: anchor must be a file outside of data/,
        /config\.yaml:\d+: keys: others can read .*: chmod 600/,
        /config\.yaml:\d+: registration: .* has no hs_token/,
      ],
      break: () => {
        edit("level: info", "levle: info");
        edit(/^service_url: .*$/m, "service_url: http://ckv.example.org");
        edit(/^anchor: .*$/m, "anchor: data/anchor");
        chmodSync(at("keys.json"), 0o640);
        const registration = readFileSync(at("registration.yaml"), "utf8");
        writeFileSync(at("registration.yaml"), registration.replace("hs_token:", "hstoken:"));
      },
    },
    {
      fault: "F72: keys and registration are not there",
      exit: 78,
      says: [/config\.yaml:\d+: keys: .*ENOENT.*put back/, /config\.yaml:\d+: registration: .*ENOENT.*matrix-ckv init/],
      break: () => {
        rmSync(at("keys.json"));
        rmSync(at("registration.yaml"));
      },
    },
    {
      fault: "F72: a registration that others can read",
      exit: 78,
      says: [/config\.yaml:\d+: registration: others can read .*: chmod o= /],
      break: () => {
        chmodSync(at("registration.yaml"), 0o644);
      },
    },
    {
      fault: "F72: two listeners on one port",
      exit: 78,
      says: [/config\.yaml:\d+: two listeners have one port: each must be given its own/],
      break: () => {
        edit(/port: 0 }/g, "port: 9010 }");
      },
    },
    {
      fault: "a port that another process has",
      exit: 75,
      says: [/listeners\.api: 127\.0\.0\.1:\d+ cannot be listened on \(EADDRINUSE\)/, /Next: end what listens there/],
      break: async () => {
        const port = await freePort();
        occupied = createServer().listen(port, "127.0.0.1");
        edit(/(api: .*port: )0/, `$1${port}`);
      },
    },
    {
      fault: "an address that this machine has not",
      exit: 78,
      says: [/listeners\.metrics: 192\.0\.2\.1:\d+ cannot be listened on/, /Next: take an address/],
      break: () => {
        edit(/(metrics: .*host: )"127\.0\.0\.1"/, '$1"192.0.2.1"');
      },
    },
  ];

  for (const { fault, exit, says, break: breakIt } of rows) {
    it(`${fault}: ${exit === 0 ? "signs nothing" : `ends with ${exit}`}, and says what to do`, async () => {
      await breakIt();
      const { exit: code, said } = await start();
      assert.equal(code, exit, said);
      for (const each of says) assert.match(said, each);
      const seeds = Object.values(JSON.parse(readFileSync(join(root, "template/keys.json"), "utf8")) as object);
      assert.ok(seeds.length === 3 && seeds.every((seed) => !said.includes(String(seed))), "a secret is told");
    });
  }

  it("starts when nothing is wrong, and --check finds nothing", async () => {
    const { exit, said } = await start();
    assert.deepEqual([exit, /anchor|clock|Next/.exec(said)], [0, null], said);
    assert.ok(loadChecked(config(), {}, ALL_FILES));
  });

  it("F72: --check looks at the database and the anchor too", () => {
    edit(/^data: .*$/m, "data: nowhere");
    edit(/^anchor: .*$/m, "anchor: nowhere-either");
    assert.throws(() => loadChecked(config(), {}, ALL_FILES), {
      exitCode: 78,
      message: /:\d+: data: there is no log in .*nowhere;[^]*:\d+: anchor: .* is missing/,
    });
  });

  it("F13: a second process ends with 75 and names the first", async () => {
    const end = new AbortController();
    const service = await runService(loadChecked(config(), {}, NEEDED_TO_START), {
      clock: new ManualClock(clock.now()),
      logger: quiet,
      signal: end.signal,
    });
    const { exit, said } = await start();
    end.abort();
    await service.finished;
    assert.equal(exit, 75);
    assert.match(said, new RegExp(`in use by process ${process.pid}`));
  });

  it("F21: a clock that was put back signs nothing, and reads go on", async () => {
    const { exit, said } = await start(clock.now() - HOUR_MS);
    assert.equal(exit, 0);
    assert.match(said, /waiting|clock is \d+ s behind the newest epoch|homeserver/);
    const running = await startSequencer({
      dataDirectory: at("data"),
      anchorFile: at("anchor/head"),
      keysFile: at("keys.json"),
      clock: new ManualClock(clock.now() - HOUR_MS),
      signal: new AbortController().signal,
      strictStart: false,
    });
    const { signing, reason, epoch } = running.sequencer.status();
    assert.match(await running.directory.checkpoint(), new RegExp(`^example\\.org/ckv/1\n${epoch + 1}\n`));
    await running.sequencer.close();
    assert.equal(signing, false);
    assert.match(reason ?? "", /the clock is 3[0-9]{3} s behind the newest epoch.*Next: set the clock/);
  });

  it("F22: a clock that was put ten years ahead signs nothing", async () => {
    const far = new ManualClock(clock.now() + 3_652 * DAY_MS);
    const running = await startSequencer({
      dataDirectory: at("data"),
      anchorFile: at("anchor/head"),
      keysFile: at("keys.json"),
      clock: far,
      signal: new AbortController().signal,
      strictStart: false,
      clockProblem: () => "the clock is ahead",
    });
    const before = running.sequencer.status();
    for (let i = 0; i < 5; i++) {
      far.advance(60_000);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const { epoch, reason } = running.sequencer.status();
    await running.sequencer.close();
    assert.deepEqual([epoch, reason], [before.epoch, "the clock is ahead"]);
  });
});
