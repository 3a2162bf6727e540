import assert from "node:assert/strict";
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { join } from "node:path";
import type { Browser, FrameLocator, Page } from "playwright-core";
import { MINUTE_MS } from "../../shared/parameters.ts";
import { accessibilityProblems } from "../support/accessibility.ts";
import { end, tied } from "../support/child.ts";
import { openBrowser } from "../support/chromium.ts";

const PROGRAM = join(import.meta.dirname, "..", "support", "demo", "start.ts");
/** Machines that run tests are busy; the demo's own promises are in seconds. */
const PATIENCE_MS = 60_000;
/** How soon a badge falls, and how soon a warning follows the next message, by the promises of the demo page. */
const GREY_WITHIN_MS = 2_000;
const WARNED_WITHIN_MS = 15_000;

describe("the demo in a browser", function () {
  this.timeout(4 * MINUTE_MS);
  let demo: ChildProcess;
  let browser: Browser;
  let page: Page;

  before(async () => {
    demo = tied(fork(PROGRAM, { stdio: ["ignore", "pipe", "inherit", "ipc"] }));
    const url = await urlOf(demo);
    browser = await openBrowser();
    page = await browser.newPage({ viewport: { width: 1720, height: 900 } });
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(url);
  });
  after(async () => {
    await browser.close();
    await end(demo, "SIGINT");
    assert.equal(demo.exitCode, 0, "Ctrl-C ends it in good order");
  });

  it("lets Alice and Bob chat, verify each other, and catches the ghost device with one warning", async () => {
    const [alice, bob] = [chatOf(page, "Alice"), chatOf(page, "Bob")];
    await say(alice, "Hello Bob");
    await bob.getByText("Hello Bob").waitFor();

    const code = await verify(alice, bob);
    assert.match(code, /^[0-9]{4} [0-9]{4}$/);
    for (const chat of [alice, bob]) await badge(chat, "verified").waitFor();

    const attackedMs = performance.now();
    await page.getByRole("button", { name: "Ghost device" }).click();
    await badge(bob, "checking").waitFor();
    const greyMs = performance.now() - attackedMs;
    await say(bob, "meet me at nine");
    const sentMs = performance.now();
    await bob.getByRole("article", { name: /read messages to Alice/ }).waitFor();
    const warnedMs = performance.now() - sentMs;

    await alice.getByText("Someone else may be able to read messages to Alice").waitFor();
    assert.equal(await bob.getByRole("article").count(), 1);
    assert.equal(await alice.getByRole("article").count(), 0);
    await badge(bob, "warning").waitFor();
    for (const frame of page.frames()) assert.deepEqual(await accessibilityProblems(frame), [], frame.url());
    console.log(
      `      grey after ${seconds(greyMs, GREY_WITHIN_MS)}, warned after ${seconds(warnedMs, WARNED_WITHIN_MS)}`,
    );
  });
});

/** For people to read; a busy machine is no failure of the demo. */
function seconds(ms: number, promisedMs: number): string {
  return `${(ms / 1_000).toFixed(1)} s of ${String(promisedMs / 1_000)} s`;
}

async function urlOf(demo: ChildProcess): Promise<string> {
  assert.ok(demo.stdout);
  const lines = createInterface(demo.stdout);
  const ended = once(demo, "exit").then((): never => {
    throw new Error("the demo did not start");
  });
  const found = (async (): Promise<string> => {
    for await (const line of lines) {
      const url = /http:\/\/localhost:\d+\//.exec(line)?.[0];
      if (url !== undefined) return url;
    }
    throw new Error("the demo printed no URL");
  })();
  return await Promise.race([found, ended]);
}

function chatOf(page: Page, name: string): FrameLocator {
  return page.frameLocator(`iframe[title="${name}'s chat"]`);
}

function badge(chat: FrameLocator, look: string): ReturnType<FrameLocator["locator"]> {
  return chat.locator(`.chat ckv-badge [data-look=${look}]`);
}

async function say(chat: FrameLocator, text: string): Promise<void> {
  const composer = chat.getByLabel("Message", { exact: true });
  await composer.fill(text);
  await composer.press("Enter");
}

/** Both read the code, find it the same, and say so. Returns it. */
async function verify(alice: FrameLocator, bob: FrameLocator): Promise<string> {
  await alice.getByRole("button", { name: "Verify", exact: true }).first().click();
  await alice.getByRole("button", { name: "Compare codes" }).click();
  await bob.getByRole("button", { name: "Accept" }).click();
  const codes = await Promise.all([alice, bob].map(async (chat) => await chat.locator(".code").textContent()));
  assert.equal(codes[0], codes[1]);
  for (const chat of [alice, bob]) await chat.getByRole("button", { name: "They match" }).click();
  return codes[0] ?? "";
}
