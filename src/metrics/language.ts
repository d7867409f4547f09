import { meanLoss } from "./mean_loss.ts";

/** How well a language model knew the characters of a batch. */
export interface LanguageBatch {
  /** How many characters were to be predicted. */
  readonly characters: number;
  /** Their mean cross-entropy in nats, as `crossEntropy` gives it. */
  readonly loss?: number;
}

/** Scores of a language model; NaN when there is no character or no loss. */
export interface LanguageScores {
  /** Number of characters. */
  readonly count: number;
  /** Mean cross-entropy of a character, in nats. */
  readonly loss: number;
  /** The same in bits. */
  readonly bitsPerCharacter: number;
  /** e to the power of the loss: among how many equally likely characters one would be as unsure. */
  readonly perplexity: number;
}

/**
 * Scores of a language model over all batches of a split.
 *
 * @example
 * ```ts
 * import { languageScores } from "@gatewise/lstm";
 *
 * const batch = { characters: 3, loss: Math.log(8) };
 * console.log(languageScores([batch])); // 3 characters, 3 bits each, perplexity 8
 * ```
 */
export function languageScores(batches: readonly LanguageBatch[]): LanguageScores {
  const counted = batches.map(({ characters, loss }) => ({ count: characters, loss }));
  const count = counted.reduce((sum, batch) => sum + batch.count, 0);
  const { loss = NaN } = meanLoss(counted);
  return { count, loss, bitsPerCharacter: loss / Math.LN2, perplexity: Math.exp(loss) };
}
