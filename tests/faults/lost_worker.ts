/// <reference lib="deno.worker" />
/**
 * The worker of `deno task train` on a GPU that is lost when it has been given 60 pieces of work.
 *
 * @module
 */
import "../../src/cli/train_worker.ts";

const { prototype } = GPUAdapter;
const { requestDevice } = prototype;
prototype.requestDevice = async function (this: GPUAdapter, descriptor): Promise<GPUDevice> {
  const device = await requestDevice.call(this, descriptor);
  const { queue } = device;
  const submit = queue.submit.bind(queue);
  let count = 0;
  queue.submit = (commands): undefined => {
    submit(commands);
    if (++count === 60) device.destroy();
  };
  return device;
};
