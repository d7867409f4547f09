/**
 * The device that tests run on, opened once a process for each form of the kernels.
 *
 * @module
 */
import { InputError } from "../src/core/errors.ts";
import { type Device, openDevice } from "../src/gpu/device.ts";

/** Forms of the kernels that every test of a kernel runs. */
export const kernelForms = ["straight", "loop"] as const;

async function open(kernels: "straight" | "loop"): Promise<Device | undefined> {
  try {
    return await openDevice({ kernels });
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

const devices = { straight: await open("straight"), loop: await open("loop") };
globalThis.addEventListener("unload", () => {
  for (const device of Object.values(devices)) device?.[Symbol.dispose]();
});

/**
 * A test that computes on a device. Without an adapter it is skipped, and its name says so; `deno
 * task test` fails then.
 *
 * @param forms Of the kernels; default both.
 */
export function deviceTest(
  name: string,
  test: (device: Device) => Promise<void>,
  ...forms: readonly (typeof kernelForms)[number][]
): void {
  for (const form of forms.length > 0 ? forms : kernelForms) {
    const device = devices[form];
    const full = `${name} (${form} kernels)`;
    if (device === undefined) {
      Deno.test.ignore(`${full}: skipped, no WebGPU adapter`, () => {});
    } else {
      Deno.test(full, () => test(device));
    }
  }
}
