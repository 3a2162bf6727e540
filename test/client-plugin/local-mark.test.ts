/** The local mark of a warning with the real matrix-js-sdk on a real Synapse, in a group and in a chat of two. */
import assert from "node:assert/strict";
import type { ClientLike } from "../../client-plugin/index.ts";
import { ContactKeyVerification } from "../../client-plugin/index.ts";
import { AccountState } from "../../client-plugin/contacts.ts";
import { MemoryStorage } from "../../client-plugin/storage.ts";
import { Warnings } from "../../client-plugin/warnings.ts";
import type { PostPolicy, Warning } from "../../client-plugin/warnings.ts";
import type { MatrixClient } from "matrix-js-sdk";
import { openClient } from "../support/client.ts";
import type { OpenClient } from "../support/client.ts";
import { startSynapse } from "../support/synapse.ts";
import type { Synapse } from "../support/synapse.ts";
import { ManualClock } from "./manual-clock.ts";

/** Compiles only while a client of the SDK, as it is, is what the plugin asks for. */
const asPlugin = (client: MatrixClient): ClientLike => client;

const NOTHING = async (): Promise<Response> => await Promise.resolve(new Response("", { status: 404 }));

describe("the local mark of a warning", () => {
  let synapse: Synapse;
  let alice: OpenClient;
  let bob: OpenClient;
  let roomId: string;

  before(async function () {
    this.timeout(120_000);
    synapse = await startSynapse({});
    [alice, bob] = await Promise.all([openClient(synapse, "alice"), openClient(synapse, "bob")]);
    roomId = await bob.createEncryptedChat(alice.account.userId);
    await alice.join(roomId);
  });
  after(async () => {
    await alice.close();
    await bob.close();
    await synapse.close();
  });

  /** Everything Bob's client sends to the homeserver while `task` runs. */
  async function requestsOf(task: () => Promise<void>): Promise<string[]> {
    const options = asPlugin(bob.matrix).http.opts;
    const original = options.fetchFn ?? fetch;
    const sent: string[] = [];
    options.fetchFn = async (input, init) => {
      if (init?.method !== undefined && init.method !== "GET") {
        sent.push(
          `${input instanceof Request ? input.url : String(input)} ${typeof init.body === "string" ? init.body : ""}`,
        );
      }
      return await original(input, init);
    };
    await task();
    options.fetchFn = original;
    return sent;
  }

  function marks({ matrix }: OpenClient = bob): string[] {
    const events = matrix.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
    return events.map((event) => event.getId() ?? "").filter((id) => id.startsWith("~ckv-"));
  }

  async function stateIn(storage: MemoryStorage, clock: ManualClock): Promise<AccountState> {
    const state = new AccountState({
      userId: bob.account.userId,
      deviceId: bob.account.deviceId,
      storage,
      accountData: {
        read: async () => {
          await Promise.resolve(undefined);
        },
        write: async () => {
          await Promise.resolve();
        },
      },
      clock,
      random: (length) => new Uint8Array(length),
      onChange: () => undefined,
      onDoubt: () => undefined,
    });
    await state.load();
    return state;
  }

  async function raise(storage: MemoryStorage, post: PostPolicy): Promise<Warning> {
    const clock = new ManualClock(Date.now());
    const told: Warning[] = [];
    const warnings = new Warnings({
      client: bob.matrix,
      state: await stateIn(storage, clock),
      storage,
      clock,
      post,
      signal: new AbortController().signal,
      onWarning: (warning) => told.push(warning),
      onError: (error) => {
        throw error;
      },
      rank: async () => await Promise.resolve(0),
    });
    const { userId } = alice.account;
    await warnings.raise({ userId, code: "pin-mismatch", class: "warning", key: "k", sinceMs: clock.now() });
    const [warning] = told;
    assert.ok(warning);
    return warning;
  }

  it("stands in the live timeline, once, comes back from the stored state, and never leaves the client", async function () {
    this.timeout(60_000);
    const storage = new MemoryStorage();
    let id = "";
    const unread = bob.matrix.getRoom(roomId)?.getEventReadUpTo(bob.account.userId);
    const sent = await requestsOf(async () => {
      ({ id } = await raise(storage, "local"));
      await bob.send(roomId, "something that does leave");
    });
    assert.deepEqual(marks(), [`~ckv-${id}`]);
    assert.ok(sent.some((request) => request.includes("/send/m.room.encrypted/")));
    // Every name and id of ours has one of these; without the sign before it, "ckv" now and then stands in a ciphertext.
    assert.ok(!sent.some((request) => /[~-]ckv/.test(request)));
    const mark = bob.matrix.getRoom(roomId)?.findEventById(`~ckv-${id}`);
    assert.ok(mark);
    assert.match(String(mark.getContent()["body"]), /digital identity/);
    assert.ok(mark.isSending(), "hosts take it for a local echo");
    assert.notEqual(bob.matrix.getRoom(roomId)?.getEventReadUpTo(bob.account.userId), mark.getId());
    assert.notEqual(unread, mark.getId());

    const restarted = new ContactKeyVerification({ client: bob.matrix, storage, fetch: NOTHING, post: "local" });
    await restarted.start();
    assert.deepEqual(marks(), [`~ckv-${id}`], "no second one in the same timeline");
    bob.matrix.getRoom(roomId)?.resetLiveTimeline(null, null);
    assert.deepEqual(marks(), [`~ckv-${id}`], "again in a new timeline");
    const reloaded = await bob.anotherDevice();
    const afterReload = new ContactKeyVerification({ client: reloaded.matrix, storage, fetch: NOTHING, post: "local" });
    await afterReload.start();
    assert.deepEqual(marks(reloaded), [`~ckv-${id}`], "again in a client that has just synced");
    afterReload.stop();
    await reloaded.close();
    await restarted.dismiss(id);
    restarted.stop();
    bob.matrix.getRoom(roomId)?.resetLiveTimeline(null, null);
    assert.deepEqual(marks(), []);

    const again = new ContactKeyVerification({ client: bob.matrix, storage, fetch: NOTHING, post: "local" });
    await again.start();
    again.stop();
    assert.deepEqual(marks(), [], "what was dismissed does not come back");
  });

  it("is a mark in a group, where a chat of two has a notice", async function () {
    this.timeout(60_000);
    const carol = await openClient(synapse, "carol");
    await bob.matrix.invite(roomId, carol.account.userId);
    await carol.join(roomId);
    const room = bob.matrix.getRoom(roomId);
    for (let tries = 0; room?.getMember(carol.account.userId)?.membership !== "join" && tries < 100; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    let id = "";
    const sent = await requestsOf(async () => {
      ({ id } = await raise(new MemoryStorage(), "direct"));
    });
    assert.ok(marks().includes(`~ckv-${id}`));
    assert.ok(!sent.some((request) => request.includes("/send/")));
    await carol.close();
  });
});
