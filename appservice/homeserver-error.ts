/** The homeserver refused (`status` > 0) or could not be reached (`status` 0). Never holds a token. */
export class HomeserverError extends Error {
  override readonly name = "HomeserverError";
  readonly status: number;
  readonly errcode: string | undefined;

  constructor(message: string, status: number, errcode?: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
    this.errcode = errcode;
  }
}
