import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

  describeStore(() => store);

  it("is made once, and never by opening", async () => {
    await assert.rejects(createLevelStore(directory), /already holds/);
    await assert.rejects(openLevelStore(join(directory, "elsewhere")), /holds no database/);
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
