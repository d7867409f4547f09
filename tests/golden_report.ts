/**
 * Prints how far the models are from PyTorch's numbers, with both forms of the kernels:
 *
 *     deno run --allow-read tests/golden_report.ts
 *
 * @module
 */
import { openDevice } from "../src/gpu/device.ts";
import { kernelForms } from "./adapter.ts";
import { compareEnsemble, compareEnsembleSteps } from "./golden_ensemble.ts";
import { compareGradients, compareSteps, type Comparison, variants } from "./golden_model.ts";
import {
  compareClassifier,
  compareClassifierSteps,
  compareSeedRun,
  compareStacked,
  compareStackedSteps,
} from "./golden_sequences.ts";
import { compareLstm } from "./golden_lstm.ts";
import { readLstmGoldens } from "./reference/golden.ts";
import { maxAbs, relativeError } from "./reference/compare.ts";

/** The largest relative error; where a floor counts, relative to that. */
function errorOf({ actual, expected, floor = 0 }: Comparison): number {
  const error = relativeError(actual, expected), size = maxAbs(expected);
  return size < floor ? error * (size === 0 ? 1 : size) / floor : error;
}

const errors = new Map<string, number[]>();
for (const [column, kernels] of kernelForms.entries()) {
  using device = await openDevice({ kernels });
  const parts: (readonly [string, readonly Comparison[]])[] = [
    ["", await compareGradients(device)],
    ["Adam: ", await compareSteps(device, "adam")],
    ["SGD: ", await compareSteps(device, "sgd")],
  ];
  for (const name of variants) parts.push([`${name}: `, await compareGradients(device, name)]);
  parts.push(
    ["stacked LSTM: ", await compareStacked(device)],
    ["stacked LSTM, Adam: ", await compareStackedSteps(device)],
    ["classifier: ", await compareClassifier(device)],
    ["classifier, Adam: ", await compareClassifierSteps(device)],
    ["classifier, seed's run: ", await compareSeedRun(device)],
    ["sequence ensemble: ", await compareEnsemble(device, "classification")],
    ["sequence ensemble, regression: ", await compareEnsemble(device, "regression")],
    ["sequence ensemble, Adam: ", await compareEnsembleSteps(device)],
  );
  for (const golden of await readLstmGoldens()) {
    const worst = new Map<string, Comparison>();
    for (const comparison of await compareLstm(device, golden)) {
      const { what } = comparison;
      const group = what.startsWith("grad") ? "worst gradient" : "worst of y, h_n, c_n";
      const before = worst.get(group);
      if (before === undefined || errorOf(comparison) > errorOf(before)) {
        worst.set(group, { ...comparison, what: group });
      }
    }
    parts.push([`torch.nn.LSTM ${golden.name}: `, [...worst.values()]]);
  }
  for (const [part, comparisons] of parts) {
    for (const comparison of comparisons) {
      const row = errors.get(part + comparison.what) ?? [];
      errors.set(part + comparison.what, row);
      row[column] = errorOf(comparison);
    }
  }
}

const width = Math.max(...[...errors.keys()].map((what) => what.length));
console.log(`${"largest relative error".padEnd(width)}  ${kernelForms.join("  ")}`);
for (const [what, row] of errors) {
  console.log([what.padEnd(width), ...row.map((error) => error.toExponential(1))].join("  "));
}
