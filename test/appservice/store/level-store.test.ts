import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, it } from "mocha";
import { openValue, sealValue } from "../../../appservice/store/checksums.ts";
import { createLevelStore, openLevelStore } from "../../../appservice/store/level-store.ts";
import { IntegrityError } from "../../../appservice/store/store.ts";
import type { Store } from "../../../appservice/store/store.ts";
import { utf8 } from "../../../shared/encoding.ts";
import { sha256 } from "../../../shared/crypto/hash.ts";
import { describeStore } from "../../support/store-suite.ts";

describe("level store", () => {
  let directory: string;
  let store: Store;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "ckv-store-"));
    store = await createLevelStore(directory);
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const reopen = async (): Promise<void> => {
    await store.close();
    store = await openLevelStore(directory);
  };

  describeStore({ current: () => store, reopen });

  it("is made once, and never by opening", async () => {
    await assert.rejects(createLevelStore(directory), /already holds/);
    await assert.rejects(openLevelStore(join(directory, "elsewhere")), { exitCode: 78, message: /holds no database/ });
    assert(!existsSync(join(directory, "elsewhere")));
  });

  it("refuses everything after a write whose outcome is unknown, and has what it confirmed when opened again", async () => {
    await store.commit({ puts: [{ key: utf8("before"), value: utf8("1") }] });
    await store.close();
    const program = fileURLToPath(new URL("../../support/failing-store.ts", import.meta.url));
    const failures = JSON.parse(
      execFileSync(process.execPath, [program, directory], { encoding: "utf8" }),
    ) as unknown[];
    assert.deepEqual([...new Set(failures)], ["UnknownOutcomeError"]);
    assert.equal(failures.length, 7);
    store = await openLevelStore(directory);
    assert.equal(store.get(utf8("before"))?.length, 1);
    assert.equal(store.get(utf8("confirmed"))?.length, 100_000);
    assert.equal(store.get(utf8("later")), undefined);
  });

  it("says of each file that is lost or cut that the database is damaged, and makes nothing in its place", async () => {
    for (let i = 0; i < 3; i++) {
      await store.commit({ puts: [{ key: utf8(`${i}`), value: new Uint8Array(1_000) }] });
      await reopen();
    }
    await store.close();
    const sound = `${directory}-sound`;
    cpSync(directory, sound, { recursive: true });
    const needed = readdirSync(sound).filter((name) => name === "CURRENT" || /^MANIFEST-|\.ldb$/.test(name));
    assert(needed.length >= 3, needed.join(" "));
    for (const name of needed) {
      const file = join(directory, name);
      rmSync(file);
      await assert.rejects(openLevelStore(directory), { exitCode: name === "CURRENT" ? 78 : 70, message: /restore/i });
      assert(!existsSync(file));
      if (name.endsWith(".ldb")) {
        writeFileSync(file, readFileSync(join(sound, name)).subarray(0, 500));
        store = await openLevelStore(directory);
        assert.throws(() => ["0", "1", "2"].map((key) => store.get(utf8(key))), IntegrityError);
        await assert.rejects(store.range(utf8("0"), utf8("9"), 10), IntegrityError);
        await store.close();
      }
      rmSync(directory, { recursive: true });
      cpSync(sound, directory, { recursive: true });
    }
    rmSync(sound, { recursive: true });
    store = await openLevelStore(directory);
    assert.equal(store.get(utf8("0"))?.length, 1_000);
  });

  it("never returns a value of which a bit flipped on disk", async () => {
    const values = Array.from({ length: 64 }, (_, i) => ({ key: utf8(`key ${i}`), value: sha256(utf8(`${i}`)) }));
    await store.commit({ puts: values });
    // Opening again moves the log file into a table.
    await store.close();
    store = await openLevelStore(directory);
    await store.close();
    const [name] = readdirSync(directory).filter((file) => file.endsWith(".ldb"));
    const file = join(directory, name!);
    const sound = readFileSync(file);
    for (let i = 0; i < 40; i++) {
      const damaged = Buffer.from(sound);
      const at = (i * 7_919) % (values.length * 50);
      damaged[at] = damaged[at]! ^ (1 << (i % 8));
      writeFileSync(file, damaged);
      store = await openLevelStore(directory);
      for (const { key, value } of values) {
        let found: Uint8Array | undefined;
        try {
          found = store.get(key);
        } catch {
          continue;
        }
        // A key may have vanished, which who refers to it takes for damage; a wrong value is never returned.
        if (found !== undefined) assert.deepEqual(new Uint8Array(found), new Uint8Array(value));
      }
      await store.close();
    }
    writeFileSync(file, sound);
    store = await openLevelStore(directory);
  });
});

describe("checksums", () => {
  const [key, payload] = [utf8("key"), utf8("payload")];

  it("give back the payload", () => {
    assert.deepEqual(openValue(key, sealValue(key, payload)), payload);
    assert.equal(openValue(key, sealValue(key, new Uint8Array())).length, 0);
  });

  it("refuse every flipped bit, every cut, and another key", () => {
    const sealed = sealValue(key, payload);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const damaged = sealed.slice();
      damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
      assert.throws(() => openValue(key, damaged), IntegrityError);
    }
    for (let length = 0; length < sealed.length; length++) {
      assert.throws(() => openValue(key, sealed.subarray(0, length)), IntegrityError);
    }
    assert.throws(() => openValue(utf8("kez"), sealed), IntegrityError);
    assert.throws(() => openValue(utf8("keyp"), sealed), IntegrityError);
  });
});
