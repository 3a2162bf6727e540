/** The state that an account's devices share, and a server that withholds, rolls back and mixes up. */
import assert from "node:assert/strict";
import { AccountState } from "../../client-plugin/contacts.ts";
import type { AccountData } from "../../client-plugin/contacts.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import type { Storage } from "../../client-plugin/storage.ts";
import { seedOf } from "../support/test-user.ts";
import { ManualClock } from "./manual-clock.ts";

const ALICE = "@alice:example.org";
const KEY = seedOf("sync key");

/** Account data as a server keeps it. */
class Server implements AccountData {
  readonly values = new Map<string, Record<string, unknown>>();
  async read(type: string): Promise<Record<string, unknown> | undefined> {
    return await Promise.resolve(this.values.get(type));
  }
  async write(type: string, content: Record<string, unknown>): Promise<void> {
    this.values.set(type, content);
    await Promise.resolve();
  }
}

let count = 0;
const random = (length: number): Uint8Array => seedOf(`nonce ${String((count += 1))}`).slice(0, length);

const START_MS = 1_000_000;

interface Device {
  readonly state: AccountState;
  readonly doubts: string[];
  readonly clock: ManualClock;
}

async function device(
  server: Server,
  deviceId: string,
  storage: Storage = new MemoryStorage(),
  nowMs: number = START_MS,
): Promise<Device> {
  const doubts: string[] = [];
  const clock = new ManualClock(nowMs);
  const state = new AccountState({
    userId: "@bob:example.org",
    deviceId,
    storage,
    accountData: server,
    clock,
    random,
    onChange: () => undefined,
    onDoubt: (code) => doubts.push(code),
  });
  await state.load();
  return { state, doubts, clock };
}

async function flush(...devices: readonly Device[]): Promise<void> {
  for (const { state } of devices) await state.flush();
}

const head = (server: string) => ({ kind: "head", server, checkpoint: "note", logKey: "key" }) as const;
const pin = { kind: "pin", userId: ALICE, masterKey: "k1", method: "code" } as const;

describe("shared state of an account", () => {
  it("follows the user to another device, and a later comparison counts", async () => {
    const server = new Server();
    const [phone, laptop] = [await device(server, "PHONE"), await device(server, "LAPTOP")];
    await phone.state.unlock(KEY);
    await phone.state.add(pin);
    await phone.state.flush();
    await laptop.state.unlock(KEY);
    assert.equal(laptop.state.pinOf(ALICE)?.masterKey, "k1");
    assert.equal(laptop.state.confirmed, false);
    laptop.state.confirm(phone.state.writes);
    assert.equal(laptop.state.confirmed, true);
  });

  it("shows the server nothing but ciphertext, and takes nothing it made up", async () => {
    const server = new Server();
    const { state } = await device(server, "PHONE");
    await state.unlock(KEY);
    await state.add(pin);
    await state.flush();
    const [[type, content] = ["", {}]] = [...server.values];
    assert.deepEqual(Object.keys(content).sort(), ["ciphertext", "nonce", "v"]);
    assert.equal(JSON.stringify(content).includes("alice"), false);
    const other = await device(server, "LAPTOP");
    await other.state.unlock(KEY);
    const ciphertext = String(content["ciphertext"]);
    const flipped = (ciphertext.startsWith("A") ? "B" : "A") + ciphertext.slice(1);
    const fresh = await device(new Server(), "TABLET");
    await fresh.state.unlock(KEY);
    await fresh.state.receive(type, { ...content, ciphertext: flipped }, true);
    assert.equal(fresh.state.pinOf(ALICE), undefined);
    const elsewhere = type.endsWith("0") ? type.replace(/0$/, "1") : type.replace(/.$/, "0");
    await fresh.state.receive(elsewhere, content, true);
    assert.equal(fresh.state.pinOf(ALICE), undefined);
    await fresh.state.receive(type, content, true);
    assert.equal(fresh.state.pinOf(ALICE)?.masterKey, "k1");
  });

  it("loses nothing when two devices write at once", async () => {
    const server = new Server();
    const [phone, laptop] = [await device(server, "PHONE"), await device(server, "LAPTOP")];
    await phone.state.unlock(KEY);
    await laptop.state.unlock(KEY);
    await Promise.all([phone.state.add(pin), laptop.state.add({ kind: "attempt", userId: ALICE })]);
    await flush(phone, laptop);
    for (const { state } of [phone, laptop, phone]) {
      await state.pull();
      await flush(phone, laptop);
    }
    for (const { state } of [phone, laptop]) {
      assert.equal(state.pinOf(ALICE)?.masterKey, "k1");
      assert.equal(state.all("attempt").length, 1);
    }
    assert.deepEqual([...phone.doubts, ...laptop.doubts], []);
  });

  it("notices that the server set it back, and keeps what it knows", async () => {
    const server = new Server();
    const { state, doubts, clock } = await device(server, "PHONE");
    await state.unlock(KEY);
    await state.add(pin);
    await state.flush();
    const old = new Map(server.values);
    await state.add({ kind: "pin", userId: ALICE, masterKey: "k2", method: "code" });
    await state.flush();
    for (const [type, content] of old) server.values.set(type, content);
    await state.pull();
    await clock.advance(10_000);
    assert.deepEqual(doubts, ["state-rolled-back"]);
    assert.equal(state.pinOf(ALICE)?.masterKey, "k2");
  });

  it("says so when this device lost what it had", async () => {
    const server = new Server();
    const before = await device(server, "PHONE");
    await before.state.unlock(KEY);
    await before.state.add(pin);
    await before.state.flush();
    const after = await device(server, "PHONE");
    await after.state.unlock(KEY);
    assert.deepEqual(after.doubts, ["state-lost"]);
    assert.equal(after.state.pinOf(ALICE)?.masterKey, "k1");
  });

  it("takes nothing from other devices when this one lost what it had, and writes on", async () => {
    const server = new Server();
    const [before, laptop] = [await device(server, "PHONE"), await device(server, "LAPTOP")];
    await before.state.unlock(KEY);
    await before.state.add(pin);
    for (const server_ of ["a.org", "b.org", "c.org"]) await before.state.add(head(server_));
    await before.state.flush();
    await laptop.state.unlock(KEY);
    // Without its storage the device begins anew, under its old name, and has something to say before it is unlocked.
    const after = await device(server, "PHONE", new MemoryStorage(), START_MS + 60_000);
    for (const server_ of ["d.org", "e.org", "f.org"]) await after.state.add(head(server_));
    await after.state.unlock(KEY);
    await flush(after, laptop);
    await laptop.state.pull();
    await flush(after, laptop);
    for (const { state } of [after, laptop]) {
      assert.equal(state.pinOf(ALICE)?.masterKey, "k1");
      assert.equal(state.all("head").length, 6);
    }
    assert.deepEqual([after.doubts, laptop.doubts], [["state-lost"], []]);
  });

  it("stays unconfirmed over a restart, until another own device vouches for it", async () => {
    const server = new Server();
    const phone = await device(server, "PHONE");
    await phone.state.unlock(KEY);
    await phone.state.add(pin);
    await phone.state.flush();
    const storage = new MemoryStorage();
    const laptop = await device(server, "LAPTOP", storage);
    await laptop.state.unlock(KEY);
    await laptop.state.add(head("a.org"));
    await laptop.state.flush();
    const again = await device(server, "LAPTOP", storage);
    assert.equal(again.state.confirmed, false);
    again.state.confirm(phone.state.writes);
    await again.state.flush();
    assert.equal(again.state.confirmed, true);
    assert.equal((await device(server, "LAPTOP", storage)).state.confirmed, true);
  });

  it("keeps pins, however many warnings a server provokes", async () => {
    const storage = new MemoryStorage();
    const first = await device(new Server(), "PHONE", storage);
    await first.state.add(pin);
    const { records, ...state } = JSON.parse((await storage.get("state")) ?? "") as { records: object[] };
    const flood = Array.from({ length: 10_000 }, (_, at) => ({
      ...{ kind: "warning", id: String(at), userId: ALICE, code: "key-never-logged", class: "warning", sinceMs: 1 },
      ...{ writer: "PHONE", counter: START_MS + 10 + at, atMs: START_MS + 1 + at },
    }));
    await storage.set("state", JSON.stringify({ ...state, records: [...records, ...flood] }));
    const second = await device(new Server(), "PHONE", storage);
    assert.equal(second.state.all("warning").length, 9_999);
    assert.equal(second.state.pinOf(ALICE)?.masterKey, "k1");
  });

  it("accuses no server of a read that overtook a write", async () => {
    const server = new Server();
    const { state, doubts, clock } = await device(server, "PHONE");
    await state.unlock(KEY);
    await state.add(pin);
    await state.flush();
    const [old, newer] = [new Map(server.values), server.values];
    await state.add({ kind: "pin", userId: ALICE, masterKey: "k2", method: "code" });
    await state.flush();
    const written = new Map(newer);
    for (const [type, content] of old) newer.set(type, content);
    await state.pull();
    for (const [type, content] of written) newer.set(type, content);
    await clock.advance(60_000);
    await state.flush();
    assert.deepEqual(doubts, []);
  });

  it("puts what is said later after what it is said about, whatever the clocks of the devices say", async () => {
    const server = new Server();
    const fast = await device(server, "FAST", new MemoryStorage(), START_MS + 3_600_000);
    const phone = await device(server, "PHONE");
    const warning = { kind: "warning", id: "w", userId: ALICE, code: "pin-mismatch", sinceMs: START_MS } as const;
    await fast.state.unlock(KEY);
    await fast.state.add(pin);
    await fast.state.add({ ...warning, class: "notice" });
    await fast.state.add({ kind: "attempt", userId: ALICE });
    await fast.state.flush();
    await phone.state.unlock(KEY);
    await phone.state.add({ kind: "dismissed", id: "w" });
    await phone.state.add({ ...warning, class: "warning" });
    await phone.state.add({ kind: "pin", userId: ALICE, masterKey: "k2", method: "code" });
    await phone.state.add({ kind: "attempt", userId: ALICE });
    await flush(phone);
    await fast.state.pull();
    for (const { state } of [fast, phone]) {
      assert.equal(state.pinOf(ALICE)?.masterKey, "k2");
      const said = [...state.all("warning"), ...state.all("dismissed")].sort((a, b) => a.atMs - b.atMs);
      assert.deepEqual(
        said.map((record) => ("class" in record ? record.class : record.kind)),
        ["notice", "dismissed", "warning"],
      );
      assert.equal(state.all("attempt")[0]?.atMs, START_MS);
    }
  });

  it("survives a restart without the server", async () => {
    const storage = new MemoryStorage();
    const first = await device(new Server(), "PHONE", storage);
    await first.state.add(pin);
    await first.state.add({ kind: "unpin", userId: "@carol:example.org" });
    const second = await device(new Server(), "PHONE", storage);
    assert.equal(second.state.pinOf(ALICE)?.masterKey, "k1");
    await second.state.add({ kind: "unpin", userId: ALICE });
    assert.equal(second.state.pinOf(ALICE), undefined);
  });
});
