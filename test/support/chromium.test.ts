import assert from "node:assert/strict";
import { openBrowser } from "./chromium.ts";

describe("support/chromium", function () {
  this.timeout(60_000);

  it("opens a page that runs scripts", async () => {
    const browser = await openBrowser();
    try {
      const page = await browser.newPage();
      await page.setContent("<p>before</p><script>document.querySelector('p').textContent = 'after';</script>");
      assert.equal(await page.textContent("p"), "after");
    } finally {
      await browser.close();
    }
  });
});
