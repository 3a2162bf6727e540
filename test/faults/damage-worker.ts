/**
 * Damages copies of a log and says what came of each. A process of its own, because a damaged database can end it.
 * Arguments: directory of the saved log, directory for copies.
 */
import { join } from "node:path";
import { loadConfig } from "../../appservice/config.ts";
import { describeDamage, inflict } from "./damage.ts";
import type { Damage } from "./damage.ts";
import { examine, statusOf, textOf } from "./examine.ts";
import type { Examination, ExamineOptions } from "./examine.ts";
import { CONFIG, FaultLog } from "./fault-log.ts";

export interface DamageOrder {
  readonly id: number;
  readonly damage: Damage;
  readonly options: ExamineOptions;
  /** Leave the copy where it is, for somebody to look at. */
  readonly keep: boolean;
}

export interface DamageAnswer {
  readonly id: number;
  readonly examination: Omit<Examination, "failedReads"> & {
    /** Message and status of each question that was refused. */
    readonly failedReads: readonly { readonly message: string; readonly exitCode: number }[];
  };
}

const [template = "", parent = ""] = process.argv.slice(2);
const original = FaultLog.load(template);

async function obey({ id, damage, options, keep }: DamageOrder): Promise<DamageAnswer> {
  const log = original.copy(parent);
  if (keep) process.stderr.write(`${describeDamage(damage)} in ${log.directory}\n`);
  try {
    inflict(log.directory, damage);
    const configured = damage.file === CONFIG ? follow(log) : log;
    const { failedReads, ...rest } =
      configured instanceof FaultLog ? await examine(configured, { ...options, wholeAudit: false }) : configured;
    const reads = failedReads.map((error) => ({ message: textOf(error), exitCode: statusOf(error) }));
    return { id, examination: { ...rest, failedReads: reads } };
  } finally {
    if (!keep) log.remove();
  }
}

/** The log that its configuration names, or the refusal of a configuration that is none. */
function follow(log: FaultLog): FaultLog | Examination {
  try {
    const { data, anchor, keys } = loadConfig(join(log.directory, CONFIG), {});
    return log.at({ dataDirectory: data, anchorFile: anchor, keysFile: keys });
  } catch (error) {
    const refusal = { message: textOf(error), exitCode: statusOf(error) };
    return { violations: [], failedReads: [], problems: [], refusal };
  }
}

process.on("message", (order: DamageOrder) => {
  void obey(order).then((answer) => process.send?.(answer));
});
process.once("disconnect", () => process.exit());
