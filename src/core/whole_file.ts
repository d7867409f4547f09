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

/** Flushes the entries of a directory, so that a new or renamed one survives a loss of power. */
export async function syncDirectory(path: string): Promise<void> {
  // Windows cannot open directories; its file system flushes their entries itself.
  if (Deno.build.os === "windows") return;
  using directory = await Deno.open(path);
  await directory.sync();
}

/**
 * Reads a file that may be of any kind or size, without taking more memory than `limit` bytes and the
 * pieces they come in: sizes that the system names are not trusted.
 *
 * @returns The whole content, or undefined if there is more.
 * @throws {Error} What the system reports.
 */
export async function readWholeFile(
  path: string,
  limit: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  using file = await Deno.open(path);
  // One byte more than named: the first read then also sees the end of an honest file.
  let bytes = new Uint8Array(Math.min(limit, (await file.stat()).size) + 1);
  let length = 0;
  for (let read; (read = await file.read(bytes.subarray(length))) !== null;) {
    length += read;
    if (length > limit) return undefined;
    if (length < bytes.length) continue;
    const larger = new Uint8Array(Math.min(limit + 1, 2 * length));
    larger.set(bytes);
    bytes = larger;
  }
  return bytes.subarray(0, length);
}
