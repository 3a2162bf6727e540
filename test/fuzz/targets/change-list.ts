import assert from "node:assert/strict";
import { equalBytes } from "../../../shared/encoding.ts";
import { changeListProblem, encodeChangeList, parseChangeList } from "../../../shared/log/change-list.ts";
import { testLog } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { unlessRefused } from "../target.ts";

/** Every byte of a change list that parses stands for something: written again it is the same. */
export const target: FuzzTarget = {
  seeds: () => testLog().epochs.map(({ changes }) => changes.list),
  run(input) {
    const changes = unlessRefused(() => parseChangeList(input), "malformed");
    if (changes === undefined) return;
    assert(equalBytes(encodeChangeList(changes), input), "another encoding of the same list");
    changeListProblem(changes);
  },
};
