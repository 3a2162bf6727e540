import Mocha from "mocha";

/** Mocha's spec reporter, closed by one line that a machine can read: `N passed, N failed, N skipped`. */
class CountingReporter extends Mocha.reporters.Spec {
  override epilogue(): void {
    super.epilogue();
    const { passes, failures, pending } = this.stats;
    console.log(`${passes} passed, ${failures} failed, ${pending} skipped`);
  }
}

export { CountingReporter as "module.exports" };
