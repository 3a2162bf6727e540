/** Unpadded base64 by the host, for answers that are made by the thousand. Same text as `encodeUnpadded` of the core. */
export function base64(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
  const padding = (3 - (bytes.length % 3)) % 3;
  return padding === 0 ? text : text.slice(0, -padding);
}

/** Hashes of a path, concatenated. */
export function pathBase64(path: readonly Uint8Array[]): string {
  return base64(Buffer.concat(path));
}
