import { pino } from "pino";
import type { LogLevel } from "./config.ts";

/** Structured log lines. Values go into the object, never into the message; secrets go nowhere. */
export interface Logger {
  error(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
  debug(fields: object, message: string): void;
}

/** JSON lines on standard output. */
export function openLogger(level: LogLevel): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime });
}
