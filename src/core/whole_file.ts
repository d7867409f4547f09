/**
 * Writes a file so that it appears whole or not at all: under another name in the same directory,
 * flushed, then renamed. An earlier file of that name stays until then.
 *
 * @throws {Error} What the system reports; nothing is left behind.
 */
export async function writeWholeFile(
  path: string,
  content: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<void> {
  const partial = `${path}.${crypto.randomUUID()}.partial`;
  try {
    {
      using file = await Deno.open(partial, { write: true, createNew: true });
      const pieces = content instanceof Uint8Array ? [content] : content;
      for await (const piece of pieces) {
        for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
      }
      await file.sync();
    }
    await Deno.rename(partial, path);
  } catch (error) {
    await Deno.remove(partial).catch(() => {});
    throw error;
  }
}
