/** The plugin's storage in a real browser that does not let it store. */
import assert from "node:assert/strict";
import type { Browser, BrowserContext, Page } from "playwright-core";
import type { IndexedDbStorage } from "../../client-plugin/storage.ts";
import { bundle } from "../bench/client/bundles.ts";
import { openBrowser } from "../support/chromium.ts";

const ORIGIN = "https://client.example";
const LONG = 1_000_000;

declare global {
  var opened: { readonly storage: IndexedDbStorage; failures: number } | undefined;
}

describe("storage in Chromium", function () {
  this.timeout(60_000);
  let browser: Browser;
  let script: string;
  let context: BrowserContext;

  before(async () => {
    browser = await openBrowser();
    const file = `${import.meta.dirname}/../../client-plugin/storage.ts`;
    script = await bundle(`
      import { IndexedDbStorage } from ${JSON.stringify(file)};
      globalThis.opened = { storage: new IndexedDbStorage("ckv", () => { opened.failures += 1; }), failures: 0 };
    `);
  });
  beforeEach(async () => {
    context = await browser.newContext();
    await context.route(`${ORIGIN}/**`, async (route) => {
      await route.fulfill({ contentType: "text/html", body: "<!doctype html>" });
    });
  });
  afterEach(async () => {
    await context.close();
  });
  after(async () => {
    await browser.close();
  });

  /** The storage of a page that was just loaded. */
  async function open(url: string = ORIGIN): Promise<Page> {
    const page = await context.newPage();
    await page.goto(url);
    await page.addScriptTag({ type: "module", content: script });
    await page.waitForFunction(() => globalThis.opened !== undefined);
    return page;
  }
  async function set(page: Page, name: string, value: string): Promise<void> {
    await page.evaluate(
      async ([each = "", text = ""]) => await globalThis.opened?.storage.set(each, text),
      [name, value],
    );
  }
  async function get(page: Page, name: string): Promise<string | undefined> {
    return await page.evaluate(async (each) => await globalThis.opened?.storage.get(each), name);
  }
  async function failures(page: Page): Promise<number> {
    return await page.evaluate(() => globalThis.opened?.failures ?? NaN);
  }
  async function names(page: Page): Promise<string[] | undefined> {
    return await page.evaluate(async () => (await globalThis.opened?.storage.names("a:"))?.sort());
  }

  it("keeps values by name, over a reload and for two pages, until they are deleted", async () => {
    const [page, second] = [await open(), await open()];
    for (const name of ["a:1", "a:2", "b:1"]) await set(page, name, `value of ${name}`);
    assert.deepEqual(await names(second), ["a:1", "a:2"]);
    assert.equal(await get(second, "b:1"), "value of b:1");
    await page.evaluate(async () => await globalThis.opened?.storage.delete("a:1"));
    const reloaded = await open();
    assert.deepEqual([await get(reloaded, "a:1"), await get(reloaded, "a:2")], [undefined, "value of a:2"]);
    assert.deepEqual([await failures(page), await failures(second), await failures(reloaded)], [0, 0, 0]);
  });

  it("goes on in memory where the disk or the quota is full, says so, and stores again once there is room", async () => {
    const page = await open();
    const devtools = await context.newCDPSession(page);
    await devtools.send("Storage.overrideQuotaForOrigin", { origin: ORIGIN, quotaSize: LONG / 10 });
    await set(page, "a:1", "old");
    await set(page, "a:2", "old");
    assert.equal(await failures(page), 0);
    const long = "x".repeat(LONG);
    await set(page, "a:1", long);
    await set(page, "a:3", long);
    assert.equal(await failures(page), 2);
    assert.deepEqual(await names(page), ["a:1", "a:2", "a:3"]);
    assert.deepEqual([(await get(page, "a:1"))?.length, await get(page, "a:2")], [LONG, "old"]);
    assert.deepEqual([await get(await open(), "a:1"), await get(await open(), "a:3")], ["old", undefined]);
    await devtools.send("Storage.overrideQuotaForOrigin", { origin: ORIGIN });
    await set(page, "a:1", "new");
    assert.deepEqual([await get(page, "a:1"), await get(await open(), "a:1")], ["new", "new"]);
    assert.equal(await failures(page), 2);
  });

  it("goes on in memory where a page may store nothing", async () => {
    const page = await open("data:text/html,<!doctype html>");
    await set(page, "a:1", "value");
    await set(page, "a:2", "value");
    await page.evaluate(async () => await globalThis.opened?.storage.delete("a:2"));
    assert.deepEqual(
      [await get(page, "a:1"), await get(page, "a:2"), await names(page)],
      ["value", undefined, ["a:1"]],
    );
    assert.ok((await failures(page)) >= 3);
    assert.equal(await get(await open("data:text/html,<!doctype html>"), "a:1"), undefined);
  });

  it("goes on when somebody clears what is stored meanwhile", async () => {
    const page = await open();
    await set(page, "a:1", "before");
    const devtools = await context.newCDPSession(page);
    await devtools.send("Storage.clearDataForOrigin", { origin: ORIGIN, storageTypes: "indexeddb" });
    assert.equal(await get(page, "a:1"), undefined);
    await set(page, "a:1", "after");
    assert.equal(await get(page, "a:1"), "after");
    await set(page, "a:1", "stored again");
    assert.equal(await get(await open(), "a:1"), "stored again");
  });

  /** Makes the next transactions of a page fail, as Safari does for a tab that was in the background. */
  async function breakConnection(page: Page, times: number): Promise<void> {
    await page.evaluate((count) => {
      let left = count;
      IDBDatabase.prototype.transaction = new Proxy(
        Reflect.get(IDBDatabase.prototype, "transaction") as () => unknown,
        {
          apply: (original, database, args) => {
            if (left === 0) return Reflect.apply(original, database, args) as unknown;
            left -= 1;
            throw new DOMException("Connection to Indexed Database server lost", "UnknownError");
          },
        },
      ) as IDBDatabase["transaction"];
    }, times);
  }

  it("reads over a new connection where one is lost", async () => {
    const page = await open();
    await set(page, "a:1", "old");
    await breakConnection(page, 1);
    assert.equal(await get(page, "a:1"), "old");
    assert.equal(await failures(page), 0);
  });

  it("overwrites nothing once something could not be read", async () => {
    const page = await open();
    await set(page, "a:1", "old");
    await breakConnection(page, 2);
    assert.equal(await get(page, "a:1"), undefined);
    assert.equal(await failures(page), 1);
    await set(page, "a:1", "made without it");
    assert.equal(await get(page, "a:1"), "made without it");
    assert.equal(await get(await open(), "a:1"), "old");
  });
});
