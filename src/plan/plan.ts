/**
 * A graph prepared for a device: pipelines, buffers and bind groups made once, so that a run only
 * uploads its inputs and records one command buffer.
 *
 * @module
 */
import { packedRows, type Packing } from "../core/packing.ts";
import { type HostTensor, sizeOf, type TensorData } from "../core/tensor.ts";
import type { Memory, OpenDevice, Pipeline } from "../gpu/device.ts";
import type { Binding, Dispatch, Extent } from "../graph/dispatch.ts";
import { type Node, nodesOf, type Traced, type TracedPacking } from "../graph/graph.ts";
import { kernelSource } from "../../kernels/mod.ts";
import { type Block, planMemory } from "./memory.ts";
import { shareEqualNodes } from "./sharing.ts";
import { segments } from "./segments.ts";

/** What a run is given for an input. */
export type InputValue = TensorData | Memory;

/** Values of a run. */
export interface RunInputs {
  /** For each input slot: data to upload, or memory to use. */
  readonly values: readonly InputValue[];
  /** For each traced packing: its lengths. */
  readonly packings: ReadonlyMap<TracedPacking, Packing>;
}

/** Where a result is. */
export interface RunOutput {
  /** First element. */
  readonly offset: number;
  /** Elements in use in that memory. */
  readonly size: number;
  /** New memory, which the caller now owns; or the input slot whose memory holds the result. */
  readonly memory: Memory | { readonly slot: number; readonly taken: boolean };
}

/** A prepared graph. */
export interface Plan {
  /** Computes the outputs. */
  run(inputs: RunInputs): readonly RunOutput[];
  /** Launches of the last run, for measuring. */
  readonly launches: number;
  /** Frees the plan's memory. */
  dispose(): void;
}

/** Bytes between the `vec4u` of a table: uniform bindings start at multiples of 256. */
const SLOT = 256;
const NONE = 0xffffffff;

/** `vec4u` values of which a dispatch binds one; rewritten before each run. */
interface Table {
  memory: Memory;
  words: Uint32Array<ArrayBuffer>;
}

interface BoundBuffer {
  readonly buffer: () => GPUBuffer;
  readonly offset: number;
  readonly size: number;
  /** Bytes that the binding moves on with each iteration. */
  readonly stride: number;
}

interface Launch {
  readonly kind: "launch";
  readonly node: Node;
  readonly dispatch: Dispatch;
  readonly pipeline: Pipeline;
  readonly buffers: readonly BoundBuffer[];
  /** What the buffers belong to: input slots and tables. */
  readonly uses: ReadonlySet<number | Table>;
  /** Bind groups by iteration; emptied when a buffer changes. */
  groups: (GPUBindGroup | undefined)[];
}

interface Move {
  readonly kind: "move";
  /** Absent: fills with zeros. */
  readonly from?: BoundBuffer;
  readonly to: BoundBuffer;
}

/**
 * Prepares a graph.
 *
 * @param wanted Tensors to return.
 * @param donated Input slots whose memory may be reused for outputs.
 */
export function makePlan(
  device: OpenDevice,
  wanted: readonly Traced[],
  donated: ReadonlySet<number>,
): Plan {
  const { queue } = device.gpu;
  const outputs = shareEqualNodes(wanted);
  const nodes = nodesOf(outputs);
  const { place, copies, born, taken } = planMemory(nodes, outputs, donated);
  const owned = new Set<Memory>();
  const own = (bytes: number): Memory => {
    const memory = device.allocate(Math.max(bytes, 16));
    owned.add(memory);
    return memory;
  };

  const inputMemory: Memory[] = [];
  const memories = new Map<Block, Memory>();
  const memoryOf = (block: Block): Memory =>
    block.kind === "input" ? inputMemory[block.slot] : memories.get(block)!;
  const at = (block: Block, offset: number, size: number, stride = 0): BoundBuffer => ({
    buffer: () => memoryOf(block).buffer,
    offset: 4 * offset,
    size: 4 * size,
    stride,
  });
  const fixed = (memory: () => Memory, offset: number, size: number, stride = 0): BoundBuffer => ({
    buffer: () => memory().buffer,
    offset,
    size,
    stride,
  });

  const inputs = nodes.filter((node) => node.operation.name === "input");
  const uploads = new Map<number, Memory>();
  const hosts = nodes.filter((node) => node.operation.name === "host");
  const hostBlocks = new Set(hosts.flatMap((node) => node.outputs.map((o) => place(o).block)));
  const segmentCounts = new Map<number, number>();

  // Extents and constants that kernels read: one slot each in one buffer.
  const uniformSlots = new Map<string, number>();
  const uniformWords: (readonly number[])[] = [];
  const uniformExtents: { slot: number; extent: Extent; node: Node }[] = [];
  const uniformMemory = (): Memory => uniforms;
  const packingIds = new Map<TracedPacking, number>();
  const packingId = (packing: TracedPacking): number => {
    const id = packingIds.get(packing) ?? packingIds.size;
    packingIds.set(packing, id);
    return id;
  };
  const extentKey = (extent: Extent, node: Node): string =>
    typeof extent === "number"
      ? `v${extent},0,0,0`
      : "packing" in extent
      ? `packing${packingId(extent.packing)}`
      : `segments${node.inputs[extent.segmentsOf].node.id}`;
  const extentOf = (extent: Extent, node: Node, run: RunInputs): number =>
    typeof extent === "number"
      ? extent
      : "packing" in extent
      ? packedRows(run.packings.get(extent.packing)!)
      : segmentCounts.get(node.inputs[extent.segmentsOf].node.id)!;
  const uniform = (key: string, words: readonly number[]): BoundBuffer => {
    const slot = uniformSlots.get(key) ?? uniformWords.length;
    if (slot === uniformWords.length) uniformWords.push(words);
    uniformSlots.set(key, slot);
    return fixed(uniformMemory, slot * SLOT, 16);
  };

  const tables = new Map<string, { table: Table; dispatch: Dispatch; node: Node }>();
  const tableOf = (node: Node, dispatch: Dispatch): Table => {
    const each = dispatch.each!;
    const key = "stepsOf" in each
      ? `steps${packingId(each.stepsOf)}`
      : `chunk${each.chunk}:${extentKey(dispatch.rows, node)}`;
    let entry = tables.get(key);
    if (entry === undefined) {
      entry = { table: { memory: own(SLOT), words: new Uint32Array(SLOT / 4) }, dispatch, node };
      tables.set(key, entry);
    }
    return entry.table;
  };
  const previous = new Map<TracedPacking, Memory>();
  const previousOf = (packing: TracedPacking): Memory => {
    packingId(packing);
    const memory = previous.get(packing) ?? own(4 * packing.capacity);
    previous.set(packing, memory);
    return memory;
  };

  const commands: (Launch | Move)[] = [];
  const free: Memory[] = [];
  const give = (bytes: number): Memory => {
    const fit = free.filter((m) => m.bytes >= bytes && m.bytes <= 4 * bytes + 4096)
      .sort((a, b) => a.bytes - b.bytes)[0];
    if (fit === undefined) return own(bytes);
    free.splice(free.indexOf(fit), 1);
    return fit;
  };

  function launch(node: Node, dispatch: Dispatch, scratch: Map<string, Memory>): Launch {
    const uses = new Set<number | Table>();
    const rows = dispatch.each !== undefined && "chunk" in dispatch.each ? dispatch.each.chunk : 0;
    const bound = (binding: Binding): BoundBuffer => {
      if ("values" in binding) return uniform(`v${binding.values}`, binding.values);
      if ("extent" in binding) {
        const { extent } = binding;
        const key = extentKey(extent, node);
        const known = uniformSlots.has(key);
        const buffer = uniform(key, [typeof extent === "number" ? extent : 0, 0, 0, 0]);
        if (!known && typeof extent !== "number") {
          uniformExtents.push({ slot: buffer.offset / SLOT, extent, node });
        }
        return buffer;
      }
      if ("iteration" in binding) {
        const table = tableOf(node, dispatch);
        uses.add(table);
        return fixed(() => table.memory, 0, 16, SLOT);
      }
      if ("previousRows" in binding) {
        const memory = previousOf(binding.previousRows);
        return fixed(() => memory, 0, 4 * binding.previousRows.capacity);
      }
      if ("scratch" in binding) {
        const memory = scratch.get(binding.scratch) ?? give(4 * binding.size);
        scratch.set(binding.scratch, memory);
        return fixed(() => memory, 0, 4 * binding.size);
      }
      const tensor = "input" in binding ? node.inputs[binding.input] : node.outputs[binding.output];
      const { block, offset } = place(tensor);
      if (block.kind === "input") uses.add(block.slot);
      const window = binding.window ?? { offset: 0, size: sizeOf(tensor.shape) };
      const stride = binding.moves === true ? 4 * rows * sizeOf(tensor.shape.slice(1)) : 0;
      return at(block, offset + window.offset, Math.max(window.size, 1), stride);
    };
    const buffers = dispatch.bindings.map(bound);
    const { kernel, constants, straight = false, uniformWeights = false } = dispatch;
    const code = kernelSource(kernel, { constants, straight, uniformWeights });
    const access = dispatch.bindings.map((binding) => binding.access);
    const pipeline = device.pipeline(code, access, kernel);
    return { kind: "launch", node, dispatch, pipeline, buffers, uses, groups: [] };
  }

  for (const node of nodes) {
    if (node.operation.name === "constant") {
      const value = node.attributes.value as HostTensor;
      const memory = own(4 * value.data.length);
      queue.writeBuffer(memory.buffer, 0, value.data as Float32Array<ArrayBuffer>);
      memories.set(place(node.outputs[0]).block, memory);
      continue;
    }
    for (const block of born.get(node.id) ?? []) {
      // What the host writes before the run must not be overwritten during it.
      const memory = node.operation.name === "host" ? own(4 * block.size) : give(4 * block.size);
      memories.set(block, memory);
      for (const { offset, size } of block.gaps ?? []) {
        commands.push({ kind: "move", to: at(block, offset, size) });
      }
    }
    for (const { from, to, size } of copies.get(node.id) ?? []) {
      commands.push({
        kind: "move",
        from: at(from.block, from.offset, size),
        to: at(to.block, to.offset, size),
      });
    }
    const scratch = new Map<string, Memory>();
    for (const dispatch of node.operation.lower?.(node, device.adapter) ?? []) {
      for (const index of dispatch.clear ?? []) {
        const { block, offset } = place(node.outputs[index]);
        commands.push({ kind: "move", to: at(block, offset, sizeOf(node.outputs[index].shape)) });
      }
      commands.push(launch(node, dispatch, scratch));
    }
    free.push(...scratch.values());
    for (const block of blocksEndingAt(node)) free.push(memories.get(block)!);
  }

  /** Blocks of which `node` is the last user, and that no later run of the loop may reuse. */
  function blocksEndingAt(node: Node): readonly Block[] {
    const ending = new Set<Block>();
    for (const tensor of [...node.inputs, ...node.outputs]) {
      const { block } = place(tensor);
      const reusable = block.kind === "temporary" && !hostBlocks.has(block);
      if (reusable && block.last === node.id) ending.add(block);
    }
    return [...ending];
  }

  const uniforms = own(Math.max(1, uniformWords.length) * SLOT);
  const uniformData = new Uint32Array(uniformWords.length * SLOT / 4);
  uniformWords.forEach((words, slot) => uniformData.set(words, slot * SLOT / 4));
  // Deno panics when it is given no bytes.
  if (uniformData.length > 0) queue.writeBuffer(uniforms.buffer, 0, uniformData);

  const results = outputs.map((output) => place(output));
  const fresh = [...new Set(results.map(({ block }) => block))]
    .filter((block) => block.kind !== "input");
  let launches = 0;

  function changed(source: number | Table): void {
    for (const command of commands) {
      if (command.kind === "launch" && command.uses.has(source)) command.groups = [];
    }
  }

  function upload(run: RunInputs): void {
    for (const node of inputs) {
      const slot = Number(node.attributes.slot);
      const value = run.values[slot];
      let memory: Memory;
      if ("buffer" in value && "bytes" in value) {
        memory = value;
      } else {
        memory = uploads.get(slot) ?? own(4 * sizeOf(node.outputs[0].shape));
        uploads.set(slot, memory);
        if (value.length > 0) {
          queue.writeBuffer(memory.buffer, 0, value as Float32Array<ArrayBuffer>);
        }
      }
      if (inputMemory[slot] !== memory) {
        inputMemory[slot] = memory;
        changed(slot);
      }
    }
    for (const node of hosts) {
      const source = node.inputs[0].node;
      const indices = source.operation.name === "constant"
        ? (source.attributes.value as HostTensor).data
        : run.values[Number(source.attributes.slot)];
      if ("buffer" in indices && "bytes" in indices) {
        throw new TypeError(
          "Cannot differentiate a lookup by indices in GPU memory: pass them as a host tensor",
        );
      }
      const { order, starts, ids, count } = segments(indices as TensorData);
      segmentCounts.set(node.id, count);
      [order, starts, ids].forEach((words, i) => {
        const { buffer } = memories.get(place(node.outputs[i]).block)!;
        queue.writeBuffer(buffer, 0, words as Uint32Array<ArrayBuffer>);
      });
    }
    for (const { slot, extent, node } of uniformExtents) {
      uniformData[slot * SLOT / 4] = extentOf(extent, node, run);
    }
    if (uniformExtents.length > 0) queue.writeBuffer(uniforms.buffer, 0, uniformData);
    for (const { table, dispatch, node } of tables.values()) fillTable(table, dispatch, node, run);
    for (const [packing, memory] of previous) {
      const { batchSizes, offsets } = run.packings.get(packing)!;
      const rows = new Uint32Array(offsets[batchSizes.length]).fill(NONE, 0, offsets[1]);
      for (let t = 1; t < batchSizes.length; t++) {
        for (let j = 0; j < batchSizes[t]; j++) rows[offsets[t] + j] = offsets[t - 1] + j;
      }
      queue.writeBuffer(memory.buffer, 0, rows);
    }
  }

  function fillTable(table: Table, dispatch: Dispatch, node: Node, run: RunInputs): void {
    const each = dispatch.each!;
    const rows = extentOf(dispatch.rows, node, run);
    const count = iterationsOf(each, rows, run);
    const words = count * SLOT / 4;
    if (table.words.length < words) {
      device.release(table.memory);
      owned.delete(table.memory);
      table.memory = own(2 * 4 * words);
      table.words = new Uint32Array(2 * words);
      changed(table);
    }
    for (let i = 0; i < count; i++) {
      const at = i * SLOT / 4;
      if ("stepsOf" in each) {
        const { batchSizes, offsets } = run.packings.get(each.stepsOf)!;
        table.words[at] = offsets[i];
        table.words[at + 1] = batchSizes[i];
        table.words[at + 2] = i === 0 ? NONE : offsets[i - 1];
        table.words[at + 3] = i + 1 < count ? batchSizes[i + 1] : 0;
      } else {
        table.words[at] = i * each.chunk;
        table.words[at + 1] = Math.min(each.chunk, rows - i * each.chunk);
      }
    }
    queue.writeBuffer(table.memory.buffer, 0, table.words, 0, words);
  }

  function iterationsOf(each: NonNullable<Dispatch["each"]>, rows: number, run: RunInputs): number {
    return "stepsOf" in each
      ? run.packings.get(each.stepsOf)!.batchSizes.length
      : Math.ceil(rows / each.chunk);
  }

  function groupOf(command: Launch, iteration: number): GPUBindGroup {
    return command.groups[iteration] ??= device.gpu.createBindGroup({
      layout: command.pipeline.layout,
      entries: command.buffers.map(({ buffer, offset, size, stride }, binding) => ({
        binding,
        resource: { buffer: buffer(), offset: offset + iteration * stride, size },
      })),
    });
  }

  function encode(run: RunInputs, encoder: GPUCommandEncoder): void {
    let pass: GPUComputePassEncoder | undefined;
    launches = 0;
    for (const command of commands) {
      if (command.kind === "move") {
        pass?.end();
        pass = undefined;
        const { from, to } = command;
        if (from === undefined) encoder.clearBuffer(to.buffer(), to.offset, to.size);
        else {
          encoder.copyBufferToBuffer(from.buffer(), from.offset, to.buffer(), to.offset, to.size);
        }
        continue;
      }
      const { dispatch, node, pipeline } = command;
      const rows = extentOf(dispatch.rows, node, run);
      pass ??= encoder.beginComputePass();
      pass.setPipeline(pipeline.pipeline);
      const { each } = dispatch;
      const count = each === undefined ? 1 : iterationsOf(each, rows, run);
      for (let n = 0; n < count; n++) {
        const reversed = each !== undefined && "stepsOf" in each && each.reversed;
        const i = reversed ? count - 1 - n : n;
        const active = each !== undefined && "stepsOf" in each
          ? run.packings.get(each.stepsOf)!.batchSizes[i]
          : rows;
        const [x, y, z] = dispatch.grid({ rows, active });
        if (x * y * z === 0) continue;
        pass.setBindGroup(0, groupOf(command, i));
        pass.dispatchWorkgroups(x, y, z);
        launches++;
      }
    }
    pass?.end();
  }

  return {
    get launches(): number {
      return launches;
    },
    run(run: RunInputs): readonly RunOutput[] {
      device.check();
      upload(run);
      const encoder = device.gpu.createCommandEncoder();
      encode(run, encoder);
      const given = new Map<Block, Memory>();
      for (const block of fresh) {
        const memory = device.allocate(Math.max(4 * block.size, 16));
        given.set(block, memory);
        const bytes = 4 * block.size;
        if (bytes > 0) {
          encoder.copyBufferToBuffer(memories.get(block)!.buffer, 0, memory.buffer, 0, bytes);
        }
      }
      queue.submit([encoder.finish()]);
      return results.map(({ block, offset }) => ({
        offset,
        size: block.size,
        memory: block.kind === "input"
          ? { slot: block.slot, taken: taken.has(block.slot) }
          : given.get(block)!,
      }));
    },
    dispose(): void {
      for (const memory of owned) device.release(memory);
      owned.clear();
    },
  };
}
