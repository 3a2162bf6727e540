import type { ErrorCode } from "../shared/messages.ts";

/** An answer of the HTTP API that is not the one asked for. The message is shown to the caller: it holds no secrets. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: ErrorCode;
  /** When it makes sense to ask again. */
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, message: string, retryAfterS?: number) {
    super(message);
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}
