/**
 * Serves the demo page and, once per person, the demo client, on loopback. `POST /attack/<name>` starts an attack, and
 * `POST /attack/stop` ends it.
 */
import { once } from "node:events";
import { readFile, readdir } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, relative } from "node:path";
import { READER_HEADER } from "../switch.ts";
import { ATTACK_NAMES } from "./attack-list.ts";
import type { AttackName } from "./attack-list.ts";

/** Somebody on the page: a client at `/<name in lower case>/`. */
export interface PagePerson {
  readonly name: string;
  readonly userId: string;
  /** Fragment of the client's link, see client-plugin/demo/settings.ts. */
  readonly fragment: string;
}

export interface DemoServerOptions {
  /** Directories of the built client and page. */
  readonly pages: { readonly client: string; readonly page: string };
  readonly people: readonly PagePerson[];
  readonly attacker: { readonly current: AttackName | undefined; start(name: AttackName | "stop"): Promise<void> };
  /** Origin of the log as clients see it. */
  readonly logUrl: string;
  readonly mergeDelayMs: number;
  readonly slackMs: number;
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
};

interface File {
  readonly type: string;
  readonly bytes: Buffer;
}

/** Listens on a free port of the loopback interface. Returns the server and the URL of the page. */
export async function serveDemo(
  options: DemoServerOptions,
): Promise<{ readonly server: Server; readonly url: string }> {
  const files = await filesOf(options);
  const server = createServer((request, response) => {
    answer(options, files, request, response).catch((error: unknown) => {
      response.writeHead(500, { "content-type": "text/plain" }).end(error instanceof Error ? error.message : "failed");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, url: `http://localhost:${String((server.address() as AddressInfo).port)}/` };
}

async function answer(
  options: DemoServerOptions,
  files: ReadonlyMap<string, File>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  const attack = /^\/attack\/([a-z-]+)$/.exec(pathname)?.[1];
  if (request.method === "POST" && isAttack(attack)) await options.attacker.start(attack);
  else if (pathname !== "/state") {
    sendFile(files.get(pathname), response);
    return;
  }
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(stateOf(options)));
}

function isAttack(name: string | undefined): name is AttackName | "stop" {
  return name === "stop" || ATTACK_NAMES.some((known) => known === name);
}

function sendFile(file: File | undefined, response: ServerResponse): void {
  if (file === undefined) response.writeHead(404).end();
  else response.writeHead(200, { "content-type": file.type, "cache-control": "no-cache" }).end(file.bytes);
}

function stateOf({ people, attacker, mergeDelayMs, slackMs }: DemoServerOptions): object {
  const links = people.map((person) => ({ name: person.name, url: `${pathOf(person)}#${person.fragment}` }));
  return { people: links, mergeDelayMs, slackMs, attack: attacker.current };
}

const pathOf = ({ name }: PagePerson): string => `/${name.toLowerCase()}/`;

/** Everything that is served, by path, read once. */
async function filesOf({ pages, people, logUrl }: DemoServerOptions): Promise<ReadonlyMap<string, File>> {
  const files = new Map<string, File>();
  await addDirectory(files, pages.page, "/", "page.html");
  for (const person of people) {
    const path = pathOf(person);
    await addDirectory(files, pages.client, path, "index.html");
    const index = files.get(path);
    if (index !== undefined) files.set(path, { ...index, bytes: namingReader(index.bytes, person.userId, logUrl) });
  }
  return files;
}

async function addDirectory(files: Map<string, File>, directory: string, path: string, index: string): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((each) => each.isFile())) {
    const file = join(entry.parentPath, entry.name);
    const name = relative(directory, file);
    const type = CONTENT_TYPES[extname(name)] ?? "application/octet-stream";
    files.set(name === index ? path : path + name, { type, bytes: await readFile(file) });
  }
}

/** The client as it is, but for a header by which the switch before the log knows whom it answers. */
function namingReader(html: Buffer, userId: string, logUrl: string): Buffer {
  const [origin, header, reader] = [logUrl, READER_HEADER, userId].map((text) => JSON.stringify(text));
  const script = `<script>{
    const send = fetch;
    globalThis.fetch = (input, init) => {
      const request = new Request(input, init);
      if (new URL(request.url).origin === ${String(origin)}) request.headers.set(${String(header)}, ${String(reader)});
      return send(request);
    };
  }</script>`;
  return Buffer.from(html.toString().replace("<head>", () => `<head>${script}`));
}
