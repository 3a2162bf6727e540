/** What an auditor reads of a log over its public HTTP interface, from one server or several that say the same. */
import { configurationHash } from "../shared/directory/configuration.ts";
import { encodeHex, equalBytes } from "../shared/encoding.ts";
import { parseEpochChanges, type EpochChanges } from "../shared/log/change-list.ts";
import { entryTile, hashReaderFromTiles, parseEntryBundle, TILE_WIDTH, tilePath } from "../shared/log/tiles.ts";
import { tilesForConsistency, tilesForInclusion, type Tile } from "../shared/log/tiles.ts";
import { parseDumpPage } from "../shared/map/dump.ts";
import type { MapLeaf } from "../shared/map/map-proof.ts";
import { tileOfNode } from "../shared/log/tiles.ts";
import { nodesOfRange, type HashReader, type LeafRange } from "../shared/merkle/tree.ts";

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 64 * 2 ** 20;

/** The log cannot be asked, or does not give what an epoch needs: code `audit-data-missing`. A delay, no fault. */
export class DataMissingError extends Error {
  override readonly name = "DataMissingError";
  readonly code = "audit-data-missing";
  readonly exitCode = 75;
}

export interface SourceOptions {
  /** Base URLs, without trailing slash: the log's, and mirrors of it. */
  readonly urls: readonly string[];
  /** For change lists that are only for named auditors: a session token, asked for anew when one has run out. */
  readonly session?: () => Promise<string>;
  readonly fetch?: typeof fetch;
}

/** Every answer is unsigned until somebody proves it. All throw DataMissingError; parsers throw VerificationError. */
export class AuditSource {
  readonly #options: SourceOptions;
  /** Which URL is asked. Moved by `turn`. */
  #at = 0;
  #session: string | undefined;

  constructor(options: SourceOptions) {
    if (options.urls.length === 0) throw new RangeError("an auditor needs a URL");
    this.#options = options;
  }

  /** How many servers there are. */
  get mirrors(): number {
    return this.#options.urls.length;
  }

  get url(): string {
    return this.#options.urls[this.#at] ?? "";
  }

  /** From now on another server is asked, if there is one. */
  turn(): void {
    this.#at = (this.#at + 1) % this.mirrors;
  }

  async checkpoint(): Promise<string> {
    return await this.#text("/log/checkpoint");
  }

  /** Records from epoch `from` to the end of its bundle, or of a log of `size`. */
  async records(from: number, size: number): Promise<readonly Uint8Array[]> {
    const tile = entryTile(from, size);
    const bundle = parseEntryBundle(await this.#bytes(`/log/${tilePath(tile)}`), tile.width);
    return bundle.slice(from - tile.index * TILE_WIDTH);
  }

  async changes(epoch: number): Promise<EpochChanges> {
    return parseEpochChanges(await this.#bytes(`/v1/changes/${epoch}`));
  }

  /** The text with this hash. */
  async configuration(hash: Uint8Array): Promise<string> {
    const text = await this.#text(`/v1/configuration/${encodeHex(hash)}`);
    if (!equalBytes(configurationHash(text), hash)) throw new DataMissingError("another configuration was given");
    return text;
  }

  /** A page of the map at an epoch, after an index. */
  async dump(epoch: number, after: Uint8Array | undefined): Promise<readonly MapLeaf[]> {
    const query = after === undefined ? "" : `?after=${encodeHex(after)}`;
    return parseDumpPage(await this.#bytes(`/v1/dump/${epoch}${query}`));
  }

  /** A document of the log by its path. */
  async text(path: string): Promise<string> {
    return await this.#text(path);
  }

  async bytes(path: string): Promise<Uint8Array> {
    return await this.#bytes(path);
  }

  /** Hashes of the log of `size`, as far as a path between two sizes needs them. */
  async consistencyHashes(earlier: number, size: number): Promise<HashReader> {
    return await this.#hashes(tilesForConsistency(earlier, size), size);
  }

  async inclusionHashes(leaf: number, size: number): Promise<HashReader> {
    return await this.#hashes(tilesForInclusion(leaf, size), size);
  }

  async rangeHashes(range: LeafRange, size: number): Promise<HashReader> {
    const tiles = nodesOfRange(range).map((node) => tileOfNode(node, size));
    return await this.#hashes(tiles, size);
  }

  async #hashes(tiles: readonly Tile[], size: number): Promise<HashReader> {
    const read = new Map<string, Uint8Array>();
    for (const tile of tiles) {
      const path = tilePath(tile);
      if (!read.has(path)) read.set(path, await this.#bytes(`/log/${path}`));
    }
    return hashReaderFromTiles(read, size);
  }

  async #text(path: string): Promise<string> {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(await this.#bytes(path));
    } catch (error) {
      if (error instanceof TypeError) throw new DataMissingError(`${path}: no text`, { cause: error });
      throw error;
    }
  }

  async #bytes(path: string): Promise<Uint8Array> {
    try {
      const response = await this.#ask(path);
      if (!response.ok) throw new Error(`status ${response.status}`);
      return await readBytes(response);
    } catch (error) {
      const message = `${this.url}${path}: ${error instanceof Error ? error.message : "?"}`;
      throw new DataMissingError(message, { cause: error });
    }
  }

  async #ask(path: string): Promise<Response> {
    const response = await this.#request(path);
    const { session } = this.#options;
    const isRefused = response.status === 401 || response.status === 403;
    if (!isRefused || session === undefined) return response;
    this.#session = await session();
    return await this.#request(path);
  }

  async #request(path: string): Promise<Response> {
    const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    const headers: Record<string, string> =
      this.#session === undefined ? {} : { authorization: `Bearer ${this.#session}` };
    return await (this.#options.fetch ?? fetch)(`${this.url}${path}`, { redirect: "error", signal, headers });
  }
}

async function readBytes(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error("the answer is too long");
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}
