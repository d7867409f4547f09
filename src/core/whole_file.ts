import { dirname } from "node:path";

/** How the names of files end while they are being written. */
export const PARTIAL = ".partial";

/**
 * Writes a file so that it appears whole or not at all: under another name in the same directory,
 * flushed, then renamed. An earlier file of that name stays until then. A file whose name ends with
 * `.partial` is left of a process that was killed.
 *
 * @throws {Error} What the system reports; nothing is left behind.
 */
export async function writeWholeFile(
  path: string,
  content: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<void> {
  const partial = `${path}.${crypto.randomUUID()}${PARTIAL}`;
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
    await syncDirectory(dirname(path));
  } catch (error) {
    await Deno.remove(partial).catch(() => {});
    throw error;
  }
}

/** Flushes the entries of a directory, so that a rename survives a loss of power. */
async function syncDirectory(path: string): Promise<void> {
  // Windows cannot open directories; its file system flushes their entries itself.
  if (Deno.build.os === "windows") return;
  using directory = await Deno.open(path);
  await directory.sync();
}
