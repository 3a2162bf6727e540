import { CkvBadge } from "./badge.ts";
import { CkvCompare } from "./compare-panel.ts";
import { define } from "./element.ts";
import { CkvHistory } from "./history.ts";
import { CkvOwnCode } from "./own-code.ts";
import { CkvWarning } from "./warning.ts";

declare global {
  interface HTMLElementTagNameMap {
    "ckv-badge": CkvBadge;
    "ckv-compare": CkvCompare;
    "ckv-history": CkvHistory;
    "ckv-own-code": CkvOwnCode;
    "ckv-warning": CkvWarning;
  }
}

/** Makes the five elements known to the page. Idempotent. */
export function defineElements(): void {
  define("ckv-badge", CkvBadge);
  define("ckv-compare", CkvCompare);
  define("ckv-history", CkvHistory);
  define("ckv-own-code", CkvOwnCode);
  define("ckv-warning", CkvWarning);
}
