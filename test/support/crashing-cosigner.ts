/**
 * An auditor, or a witness, that dies by SIGKILL once it has stored a head and before it cosigns it: both read the clock
 * between the two, and nowhere else once the head is stored. With `lives` as the last argument it goes on instead.
 */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { AuditSource } from "../../appservice/audit-source.ts";
import { Auditor } from "../../appservice/auditor.ts";
import { serveWitness, Witness } from "../../appservice/witness.ts";
import { parseVkey } from "../../shared/crypto/signed-note.ts";

const [, , kind = "", url = "", logKey = "", state = "", size = "", fate = ""] = process.argv;
const cosigner = { name: "cosigner.example", seed: new Uint8Array(32).fill(9) };

/** Size of the head that is on disk. */
function storedSize(): number {
  const file = kind === "auditor" ? state : join(state, readdirSync(state)[0] ?? "none");
  if (!existsSync(file)) return 0;
  const stored = JSON.parse(readFileSync(file, "utf8")) as {
    readonly size?: number;
    readonly state?: { readonly size: number };
  };
  return stored.size ?? stored.state?.size ?? 0;
}

function nowMs(): number {
  if (fate !== "lives" && storedSize() === Number(size)) {
    process.kill(process.pid, "SIGKILL");
    for (;;);
  }
  return Date.now();
}

if (kind === "auditor") {
  const source = new AuditSource({ urls: [url] });
  process.stdout.write(await new Auditor({ source, logKey, stateFile: state, cosigner, nowMs }).advance());
} else {
  const witness = new Witness({ ...cosigner, logs: [parseVkey(logKey)], stateDirectory: state, nowMs });
  const port = await serveWitness(witness, { host: "127.0.0.1", port: 0 }, new AbortController().signal);
  process.stdout.write(`${String(port)}\n`);
}
