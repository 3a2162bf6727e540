/** The body of a response as UTF-8 text. Throws when it is longer than `maxBytes`; never reads on past that. */
export async function readText(response: Response, maxBytes: number): Promise<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let length = 0;
  let result = "";
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > maxBytes) throw new Error(`the answer is longer than ${String(maxBytes)} bytes`);
    result += decoder.decode(chunk, { stream: true });
  }
  return result + decoder.decode();
}
