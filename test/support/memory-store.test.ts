import { beforeEach, describe } from "mocha";
import { MemoryStore } from "./memory-store.ts";
import { describeStore } from "./store-suite.ts";

describe("memory store", () => {
  let store = new MemoryStore();
  beforeEach(() => {
    store = new MemoryStore();
  });

  describeStore({ current: () => store });
});
