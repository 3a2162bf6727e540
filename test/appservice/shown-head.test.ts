import assert from "node:assert/strict";
import type { Bundle } from "../../appservice/bundle.ts";
import { ShownHead } from "../../appservice/shown-head.ts";

/** Counts who holds it. */
class Held {
  readonly name: string;
  users = 0;

  constructor(name: string) {
    this.name = name;
  }

  retain(): Bundle {
    this.users += 1;
    return this as unknown as Bundle;
  }

  release(): void {
    this.users -= 1;
  }
}

const bundle = (held: Held): Bundle => held as unknown as Bundle;

describe("the head that is shown", () => {
  it("is in every thread that of the number which the main thread wrote, and in none before", () => {
    const number = new SharedArrayBuffer(4);
    const [main, other] = [new ShownHead(number), new ShownHead(number)];
    const [first, second, third] = ["first", "second", "third"].map((name) => new Held(name)) as [Held, Held, Held];
    for (const head of [main, other]) {
      head.prepare(1, bundle(first));
      head.prepare(2, bundle(second));
      assert.equal(head.bundle, undefined);
    }
    main.show(1);
    for (const head of [main, other]) assert.equal(head.bundle, first);
    for (const head of [main, other]) head.prepare(3, bundle(third));
    for (const head of [main, other]) assert.equal(head.bundle, first);
    main.show(3);
    for (const head of [main, other]) assert.equal(head.bundle, third);
    assert.deepEqual([first.users, second.users, third.users], [0, 0, 2]);
    for (const head of [main, other]) head.close();
    assert.equal(third.users, 0);
  });

  it("is that of a thread that begins late as soon as it has it ready", () => {
    const number = new SharedArrayBuffer(4);
    const [main, late] = [new ShownHead(number), new ShownHead(number)];
    const held = new Held("first");
    main.prepare(1, bundle(held));
    main.show(1);
    assert.equal(late.bundle, undefined);
    late.prepare(1, bundle(held));
    assert.equal(late.bundle, held);
  });

  it("is let go with the next that is prepared where nobody asks", () => {
    const number = new SharedArrayBuffer(4);
    const [main, idle] = [new ShownHead(number), new ShownHead(number)];
    const all = Array.from({ length: 5 }, (_, i) => new Held(`${i}`));
    for (const [i, held] of all.entries()) {
      for (const head of [main, idle]) head.prepare(i + 1, bundle(held));
      main.show(i + 1);
    }
    assert.deepEqual(
      all.map(({ users }) => users),
      [0, 0, 0, 1, 2],
    );
    idle.close();
    assert.deepEqual(
      all.map(({ users }) => users),
      [0, 0, 0, 0, 1],
    );
  });
});
