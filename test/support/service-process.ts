/** The service in a process of its own, with the time of a test: `<config file> <url of the clock>`. */
import { loadConfig } from "../../appservice/config.ts";
import { openLogger } from "../../appservice/logger.ts";
import { runService } from "../../appservice/service.ts";
import { followClock } from "./clock.ts";

const [file, clockUrl] = process.argv.slice(2);
if (file === undefined || clockUrl === undefined) throw new Error("a config file and a clock are needed");
const end = new AbortController();
process.once("SIGTERM", () => {
  end.abort();
});
// The channel to the parent closes when that is gone, however it went.
process.once("disconnect", () => {
  end.abort();
});
const config = loadConfig(file, process.env);
const clock = await followClock(clockUrl, end.signal);
const options = { clock, logger: openLogger(config.log.level), signal: end.signal, isTimeOwn: true } as const;
const service = await runService(config, options);
await service.finished;
process.exit();
