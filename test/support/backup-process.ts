/**
 * A process that makes a backup or restores one, made to be killed:
 * `backup|restore <file> <data directory> <anchor> <keys>`. Says when it begins and when it is done.
 */
import { backUpStopped, writeBackup } from "../../appservice/backup.ts";
import { readKeys } from "../../appservice/keys-file.ts";
import { restoreLog } from "../../appservice/restore.ts";

const [, , what, file = "", dataDirectory = "", anchorFile = "", keysFile = ""] = process.argv;
const place = { dataDirectory, anchorFile, keys: readKeys(keysFile) };
process.stdout.write("begins\n");
if (what === "restore") await restoreLog(file, place, () => undefined);
else {
  const bytes = backUpStopped(place, { move: what === "move", nowMs: Date.now() });
  await writeBackup(file, bytes, place.keys.logSeed, () => undefined);
}
process.stdout.write("done\n");
