/** The mean loss of a sample over batches of so many, if every batch has one. */
export function meanLoss(
  batches: readonly { readonly count: number; readonly loss: number | undefined }[],
): { readonly loss?: number } {
  let sum = 0, samples = 0;
  for (const { count, loss } of batches) {
    if (loss === undefined) return {};
    sum += loss * count;
    samples += count;
  }
  return samples === 0 ? {} : { loss: sum / samples };
}
