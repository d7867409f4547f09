/**
 * Chromium, for tests that open pages.
 *
 * @module
 */

/** What Chromium is called, on Debian and elsewhere. */
const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** The browser's path, undefined where there is none. */
export function findBrowser(): string | undefined {
  const folders = (Deno.env.get("PATH") ?? "").split(":").filter((folder) => folder !== "");
  return NAMES.flatMap((name) => folders.map((folder) => `${folder}/${name}`))
    .find((path) => {
      try {
        return Deno.statSync(path).isFile;
      } catch {
        return false;
      }
    });
}
