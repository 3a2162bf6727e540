// strace, with which the fault campaign hits a process at one system call: an installed one, else Debian's package (root
// only). Without it the campaign kills at any time instead, and says so.
import { answers, installDebianPackages, say, SetUpError } from "./step.mjs";

export async function setUpStrace() {
  if (await answers("strace", ["--version"])) return;
  try {
    say("no strace found: installing Debian's package");
    await installDebianPackages("strace", ["strace"]);
  } catch (error) {
    if (!(error instanceof SetUpError)) throw error;
    say(`no strace: ${error.message.split("\n")[0]}; faults at system calls are left out`);
  }
}
