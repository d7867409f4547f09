/** Most workgroups in one dimension of a dispatch. */
const MOST = 65535;

/**
 * Workgroups of 64 invocations for `count` elements: the kernel's element number is
 * `id.y * 65535u * 64u + id.x`.
 */
export function elementGrid(count: number): readonly [number, number, number] {
  const groups = Math.ceil(count / 64);
  return [Math.min(groups, MOST), Math.ceil(groups / MOST), 1];
}
