import assert from "node:assert/strict";
import type { Browser, Page } from "playwright-core";
import { build } from "vite";
import type { Rolldown } from "vite";
import { encodePublicCode } from "../../shared/codes/public-code.ts";
import { accessibilityProblems } from "../support/accessibility.ts";
import { openBrowser } from "../support/chromium.ts";
import type { CkvElement } from "../../client-plugin/ui/element.ts";

const BOB = "@bob:b.example";
const PUBLIC_CODE = encodePublicCode("@alice:a.example", new Uint8Array(32).fill(7));
const WARNINGS = [
  {
    id: "w1",
    userId: BOB,
    code: "key-never-logged",
    class: "warning",
    sinceMs: 1_700_000_000_000,
    title: "Someone else may be able to read messages to Bob",
    text: "b.example gave this app a key for Bob that is not in the public record (14 Nov 2023, 22:13). The device GHOST may belong to someone else.",
    action: "Ask Bob over another channel whether they have a new device. Compare contact codes with them.",
    roomIds: [],
  },
  {
    id: "w2",
    userId: "@carol:c.example",
    code: "head-fork",
    class: "evidence",
    sinceMs: 1_700_000_000_000,
    title: "The key log of c.example contradicts itself",
    text: "On 14 Nov 2023 the key log of c.example was caught showing different people different things.",
    action: "Ask the people who run c.example about it, over another channel.",
    evidence: '{"kind":"E1"}',
    roomIds: [],
  },
  {
    id: "w3",
    userId: BOB,
    code: "device-unsigned",
    class: "notice",
    sinceMs: 1_700_000_000_000,
    title: "Bob has a device they have not verified",
    text: "The device TABLET is in Bob's account since 14 Nov 2023, 22:13.",
    action: "Ask Bob whether it is theirs.",
    roomIds: [],
  },
];
const HISTORY = [
  { version: 1, timestampMs: 1_690_000_000_000, added: [], removed: [], identityChanged: false, erased: true },
  { version: 2, timestampMs: 1_692_000_000_000, added: ["LAPTOP"], removed: [], statement: "on" },
  { version: 3, timestampMs: 1_695_000_000_000, added: [], removed: ["PHONE"], identityChanged: true, statement: "on" },
  { version: 4, timestampMs: 1_699_000_000_000, added: [], removed: [], identityChanged: false, statement: "on" },
];

/** The elements as one script, built as a host would. */
async function bundle(): Promise<string> {
  const output = (await build({
    configFile: false,
    logLevel: "silent",
    build: { write: false, minify: false, lib: { entry: "client-plugin/ui/elements.ts", formats: ["es"] } },
  })) as Rolldown.RolldownOutput[];
  const code = output[0]?.output[0].code;
  assert.ok(code !== undefined);
  return code;
}

/** The plugin as the elements see it, in the page: its answers are set by the tests, its events fired by them. */
const FAKE_PLUGIN = `
import { defineElements } from "./elements.js";
defineElements();
const listeners = new Set();
const calls = [];
const answers = { status: { verdict: { kind: "unchecked", reason: "first-look" } }, warnings: [], history: [], session: undefined };
globalThis.fake = {
  answers, calls,
  fire: (event, ...parameters) => { for (const [name, listener] of [...listeners]) if (name === event) listener(...parameters); },
  session: (state, more = {}) => {
    const changed = new Set();
    const session = {
      userId: "${BOB}", state, ...more,
      on: (listener) => { changed.add(listener); return () => changed.delete(listener); },
      move: (to, rest = {}) => { Object.assign(session, { state: to }, rest); for (const listener of [...changed]) listener(); },
      accept: async () => { calls.push("accept"); },
      confirm: async (options) => { calls.push("confirm " + options.sign); if (session.fails) throw new Error("offline"); session.move("confirmed"); },
      differ: () => { calls.push("differ"); session.move("ended", { endedWith: "compare-codes-differ" }); },
      cancel: () => { calls.push("cancel"); session.move("ended", { endedWith: "compare-cancelled" }); },
    };
    return session;
  },
  ckv: {
    on: (event, listener) => { const entry = [event, listener]; listeners.add(entry); return () => listeners.delete(entry); },
    statusOf: () => answers.status,
    warnings: () => answers.warnings,
    dismiss: async (id) => { calls.push("dismiss " + id); answers.warnings = answers.warnings.filter((warning) => warning.id !== id); },
    publicCode: async () => "${PUBLIC_CODE}",
    historyOf: async () => answers.history,
    sessionWith: () => answers.session,
    compare: async () => { calls.push("compare"); answers.session = fake.session("requested"); return answers.session; },
    markVerified: async (userId, code) => { calls.push("markVerified " + userId + " " + code); },
  },
  show: (html) => {
    document.querySelector("main").innerHTML = html;
    for (const element of document.querySelectorAll("ckv-badge, ckv-compare, ckv-warning, ckv-own-code, ckv-history")) element.ckv = fake.ckv;
  },
};
`;
const PAGE = `<!doctype html><html lang="en"><head><title>Elements</title><style>
:root { color-scheme: light dark; } body { margin: 0; font: 16px system-ui; background: light-dark(#fff, #171b21); color: light-dark(#111, #eee); }
main { padding: 16px; max-width: 440px; display: grid; gap: 16px; } h1 { margin: 0 16px; }
</style></head><body><header><h1>Elements</h1></header><main></main><script type="module" src="/fake.js"></script></body></html>`;

declare const fake: {
  answers: Record<string, unknown>;
  calls: string[];
  fire(event: string, ...parameters: unknown[]): void;
  session(state: string, more?: object): { move(state: string, more?: object): void };
  show(html: string): void;
};

describe("elements", () => {
  let browser: Browser;
  let page: Page;
  let elements: string;
  const problems: string[] = [];

  before(async function () {
    this.timeout(60_000);
    elements = await bundle();
    browser = await openBrowser();
  });
  after(async () => {
    await browser.close();
  });

  beforeEach(async () => {
    const context = await browser.newContext({ viewport: { width: 480, height: 900 } });
    page = await context.newPage();
    problems.length = 0;
    page.on("pageerror", (error) => problems.push(error.message));
    const files = new Map([
      ["/", PAGE],
      ["/fake.js", FAKE_PLUGIN],
      ["/elements.js", elements],
    ]);
    await page.route("http://elements.test/**", async (route) => {
      const path = new URL(route.request().url()).pathname;
      const contentType = path === "/" ? "text/html" : "text/javascript";
      await route.fulfill({ contentType, body: files.get(path) ?? "" });
    });
    await page.goto("http://elements.test/");
    await page.waitForFunction(() => "fake" in globalThis);
  });
  afterEach(async () => {
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  const show = (html: string): Promise<void> =>
    page.evaluate((markup) => {
      fake.show(markup);
    }, html);
  const answer = (answers: object): Promise<void> =>
    page.evaluate((given) => {
      Object.assign(fake.answers, given);
    }, answers);
  const calls = (): Promise<string[]> => page.evaluate(() => fake.calls);
  const status = (name: string): Promise<string> =>
    page.evaluate((tag) => {
      const element = document.querySelector<CkvElement<unknown>>(tag);
      return element?.shadowRoot?.querySelector("[role=status].unseen")?.textContent ?? "";
    }, name);
  const press = (name: string): Promise<void> => page.getByRole("button", { name, exact: true }).click();

  /** No violation that axe-core finds, in light and in dark, at 480 and at 320 pixels. */
  async function assertAccessible(): Promise<void> {
    for (const colorScheme of ["light", "dark"] as const) {
      for (const width of [480, 320]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 900 });
        assert.deepEqual(await accessibilityProblems(page.mainFrame()), [], `${colorScheme} ${String(width)}`);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
        assert.equal(overflow, false, `nothing is wider than ${String(width)} pixels`);
      }
    }
  }

  describe("<ckv-badge>", () => {
    const looks: [string, object][] = [
      ["verified", { kind: "verified" }],
      ["consistent", { kind: "consistent", ground: "own-history" }],
      ["unchecked", { kind: "unchecked", reason: "offline" }],
      ["checking", { kind: "unchecked", reason: "key-pending" }],
      ["warning", { kind: "warning", code: "key-never-logged", sinceMs: 1 }],
    ];
    for (const [look, verdict] of looks) {
      it(`shows ${look} by word, outline and colour, and says it`, async () => {
        await answer({ status: { verdict } });
        await show(`<ckv-badge user-id="${BOB}" name="Bob"></ckv-badge>`);
        assert.equal(await page.locator("ckv-badge [data-look]").getAttribute("data-look"), look);
        assert.match(await status("ckv-badge"), /^Bob: .+\. .+\.$/);
        await assertAccessible();
      });
    }

    it("follows the status of its own contact only", async () => {
      await show(`<ckv-badge user-id="${BOB}" name="Bob"></ckv-badge>`);
      await answer({ status: { verdict: { kind: "verified" } } });
      await page.evaluate(() => {
        fake.fire("status", "@carol:c.example");
      });
      assert.equal(await page.locator("ckv-badge [data-look]").getAttribute("data-look"), "unchecked");
      await page.evaluate((userId) => {
        fake.fire("status", userId);
      }, BOB);
      assert.equal(await page.locator("ckv-badge [data-look]").getAttribute("data-look"), "verified");
    });
  });

  describe("<ckv-compare>", () => {
    const open = (): Promise<void> => show(`<ckv-compare user-id="${BOB}" name="Bob"></ckv-compare>`);
    const session = (state: string, more: object = {}): Promise<void> =>
      page.evaluate(
        ([to, rest]) => {
          fake.answers["session"] = fake.session(to, rest);
        },
        [state, more] as const,
      );
    const move = (state: string, more: object = {}): Promise<void> =>
      page.evaluate(
        ([to, rest]) => {
          (fake.answers["session"] as ReturnType<typeof fake.session>).move(to, rest);
        },
        [state, more] as const,
      );

    it("goes from asking to verified", async () => {
      await open();
      await assertAccessible();
      await press("Compare codes");
      assert.match(await status("ckv-compare"), /Waiting for Bob/);
      await move("waiting");
      await move("code", { code: "01234567" });
      assert.equal(await page.locator("ckv-compare .code").textContent(), "0123 4567");
      assert.match(await status("ckv-compare"), /0 1 2 3 4 5 6 7/);
      await assertAccessible();
      await press("They match");
      assert.deepEqual(await calls(), ["compare", "confirm true"]);
      assert.match(await status("ckv-compare"), /Waiting for Bob to do the same/);
      await move("done");
      assert.match(await status("ckv-compare"), /You verified Bob/);
      await assertAccessible();
    });

    it("works with the keyboard alone and keeps the focus", async () => {
      await open();
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await move("code", { code: "12345678" });
      assert.equal(await page.evaluate(() => document.activeElement?.tagName), "CKV-COMPARE");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Space");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      assert.deepEqual(await calls(), ["compare", "confirm false"]);
    });

    it("lets a person accept or decline what the contact asks", async () => {
      await session("incoming");
      await open();
      await assertAccessible();
      await press("Accept");
      await press("Decline");
      assert.deepEqual(await calls(), ["accept", "cancel"]);
    });

    it("follows a session that begins while it is open", async () => {
      await open();
      await session("incoming");
      await page.evaluate(() => {
        fake.fire("compare", fake.answers["session"]);
      });
      await page.getByRole("button", { name: "Accept" }).waitFor();
    });

    it("says gravely that the codes differ, and calmly that it was cancelled", async () => {
      await session("code", { code: "12345678" });
      await open();
      await press("They differ");
      assert.match(await status("ckv-compare"), /Someone may stand between you and Bob/);
      assert.equal(await page.locator("ckv-compare .note.bad").count(), 1);
      await assertAccessible();
      await press("Try again");
      await move("ended", { endedWith: "compare-cancelled" });
      assert.equal(await page.locator("ckv-compare .note.bad").count(), 0);
    });

    it("keeps the code when the last check can't be made", async () => {
      await session("code", { code: "12345678", fails: true });
      await open();
      await press("They match");
      await page.getByText("try again in a moment").first().waitFor();
      assert.equal(await page.locator("ckv-compare .code").textContent(), "1234 5678");
      assert.equal(await page.getByRole("button", { name: "They match" }).isEnabled(), true);
    });

    it("checks a public code", async () => {
      await open();
      await page.getByText("Bob published a code?").click();
      await page.getByLabel("Public code or matrix: link").fill(PUBLIC_CODE);
      await press("Check");
      await page.getByText("The public code belongs to Bob").first().waitFor();
      assert.deepEqual(await calls(), [`markVerified ${BOB} ${PUBLIC_CODE}`]);
      await assertAccessible();
    });
  });

  describe("<ckv-warning>", () => {
    it("shows who, what, since when, what to do and details", async () => {
      await answer({ warnings: WARNINGS });
      await show("<ckv-warning></ckv-warning>");
      assert.equal(await page.getByRole("article").count(), 3);
      const card = page.getByRole("article", { name: /read messages to Bob/ });
      assert.match((await card.textContent()) ?? "", /What to do/);
      await card.getByText("Details").click();
      assert.match((await card.locator("dl").textContent()) ?? "", /@bob:b\.example.*key-never-logged/s);
      assert.equal(await page.getByRole("link", { name: "Save the proof" }).count(), 0);
      await page
        .getByRole("article", { name: /contradicts/ })
        .getByText("Details")
        .click();
      assert.equal(await page.getByRole("link", { name: "Save the proof" }).getAttribute("download"), "head-fork.json");
      await assertAccessible();
    });

    it("shows one warning, or those about one person", async () => {
      await answer({ warnings: WARNINGS });
      await show('<ckv-warning warning-id="w2"></ckv-warning>');
      assert.equal(await page.getByRole("article").count(), 1);
      await show(`<ckv-warning user-id="${BOB}"></ckv-warning>`);
      assert.equal(await page.getByRole("article").count(), 2);
    });

    it("goes when it is dismissed, and asks the host to compare", async () => {
      await answer({ warnings: WARNINGS.slice(0, 1) });
      await show("<ckv-warning></ckv-warning>");
      await page.evaluate(() => {
        document.addEventListener("ckv-compare", (event) =>
          fake.calls.push(`ckv-compare ${String((event as CustomEvent).detail)}`),
        );
      });
      await press("Compare codes");
      await press("Dismiss");
      await page.getByRole("article").waitFor({ state: "detached" });
      assert.deepEqual(await calls(), [`ckv-compare ${BOB}`, "dismiss w1"]);
    });

    it("treats what it is told as text", async () => {
      const title = '<img src=x onerror="fake.calls.push(1)"> says';
      await answer({ warnings: [{ ...WARNINGS[0], title }] });
      await show("<ckv-warning></ckv-warning>");
      assert.equal(await page.getByRole("heading", { level: 2 }).textContent(), title);
      assert.deepEqual(await calls(), []);
    });
  });

  it("<ckv-own-code> shows the code in groups of four, a QR code and a link", async () => {
    await show('<ckv-own-code user-id="@alice:a.example"></ckv-own-code>');
    const groups = await page.locator("ckv-own-code .groups span").allTextContents();
    assert.equal(groups.join(" "), PUBLIC_CODE);
    assert.ok(groups.every((group) => group.length === 4));
    await page.getByRole("img", { name: "QR code" }).waitFor();
    const href = await page.getByRole("link", { name: "Link" }).getAttribute("href");
    assert.equal(href, `matrix:u/alice:a.example?org.matrix-ckv.code=${PUBLIC_CODE.replaceAll(" ", "")}`);
    await assertAccessible();
  });

  it("<ckv-history> shows what happened to a contact's keys, newest first", async () => {
    await answer({ history: HISTORY });
    await show(`<ckv-history user-id="${BOB}" name="Bob"></ckv-history>`);
    const versions = await page
      .locator("ckv-history li")
      .evaluateAll((items) => items.map((item) => item.getAttribute("data-version")));
    assert.deepEqual(versions, ["4", "3", "2", "1"]);
    const text = (await page.locator("ckv-history section").textContent()) ?? "";
    for (const line of [
      "No longer kept",
      "Turned Contact Key Verification on",
      "Keys renewed",
      "Digital identity has been reset",
      "Device removed: PHONE",
      "Device added: LAPTOP",
    ]) {
      assert.ok(text.includes(line), line);
    }
    await assertAccessible();
  });

  it("<ckv-history> says so when there is no record", async () => {
    await show(`<ckv-history user-id="${BOB}" name="Bob"></ckv-history>`);
    await page.getByText("Bob is not on a public record.").waitFor();
  });
});
