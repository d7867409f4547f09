/**
 * A graph prepared for a device: pipelines, buffers and bind groups made once, so that a run only
 * uploads its inputs and records one command buffer.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { packedRows, type Packing } from "../core/packing.ts";
import { type HostTensor, sizeOf, type TensorData } from "../core/tensor.ts";
import {
  type Image,
  IMAGE_ROW,
  imageRows,
  type Memory,
  type OpenDevice,
  type Pipeline,
  type Texel,
} from "../gpu/device.ts";
import type { Binding, Dispatch, Extent, RowIndex } from "../graph/dispatch.ts";
import { type Node, nodesOf, type Traced, type TracedPacking } from "../graph/graph.ts";
import { kernelSource } from "../../kernels/mod.ts";
import { type Block, planMemory } from "./memory.ts";
import { fuseElements } from "./fusion.ts";
import { readersFirst } from "./order.ts";
import { rowIndex, stepWords, wordsOf } from "./row_index.ts";
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

/** Iterations that launches go through, and the words that kernels read of each. */
interface Table {
  memory: Memory;
  words: Uint32Array<ArrayBuffer>;
  iterations: readonly Iteration[];
  readonly moving: Moving | undefined;
  readonly find: (run: RunInputs) => readonly Iteration[];
}

/** Every step of a packing. */
function steps(packing: Packing): readonly Iteration[] {
  return Array.from(packing.batchSizes, (active, t) => {
    return { active, row: packing.offsets[t], words: stepWords(packing, t) };
  });
}

/** The steps of a packing in runs of at most `most`. */
function runsOfSteps(
  { batchSizes, offsets, lengths }: Packing,
  most: number,
): readonly Iteration[] {
  const T = batchSizes.length;
  return Array.from({ length: Math.ceil(T / most) }, (_, i) => ({
    active: batchSizes[i * most],
    row: offsets[i * most],
    words: [i * most, Math.min(T, (i + 1) * most), lengths.length],
  }));
}

/** `rows` in chunks of at most `most`. */
function chunks(rows: number, most: number): readonly Iteration[] {
  return Array.from({ length: Math.ceil(rows / most) }, (_, i) => {
    const row = i * most, active = Math.min(most, rows - row);
    return { active, row, words: [row, active, 0] };
  });
}

interface BoundBuffer {
  readonly memory: () => Memory;
  readonly offset: number;
  readonly size: number;
}

/** A binding that is an image. */
interface BoundImage {
  readonly image: Image;
}

/** One iteration of a launch. */
interface Iteration {
  /** Sequences or rows that the grid depends on. */
  readonly active: number;
  /** Its first row. */
  readonly row: number;
  /** What kernels read of it: a `vec4u`, of which the last may be where the moving window begins. */
  readonly words: readonly number[];
}

/** A window that moves with the iterations: it begins with their first row, or with `last`. */
interface Moving {
  /** Elements of a row. */
  readonly columns: number;
  /** The last element that it can begin with; a multiple of 64, as all are. */
  readonly last: number;
}

/** The first element of a window. */
function beginOf(window: Moving | undefined, { row }: Iteration): number {
  if (window === undefined) return 0;
  return Math.min(Math.floor(row * window.columns / 64) * 64, window.last);
}

interface Launch {
  readonly kind: "launch";
  readonly node: Node;
  readonly dispatch: Dispatch;
  readonly pipeline: Pipeline;
  readonly bound: readonly (BoundBuffer | BoundImage)[];
  readonly table: Table | undefined;
  /** What the buffers belong to: input slots and tables. */
  readonly uses: ReadonlySet<number | Table>;
  /** Absent until it is needed, and again when a buffer changes. */
  group: GPUBindGroup | undefined;
}

interface Move {
  readonly kind: "move";
  /** Absent: fills with zeros. */
  readonly from?: BoundBuffer;
  readonly to: BoundBuffer;
}

/** Copies memory to an image. */
interface ImageCopy {
  readonly kind: "image";
  readonly from: BoundBuffer;
  readonly to: Image;
  /** Elements in use. */
  readonly count: (run: RunInputs) => number;
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
  const outputs = readersFirst(fuseElements(shareEqualNodes(wanted), device.adapter));
  const nodes = nodesOf(outputs);
  const { place, copies, born, taken } = planMemory(nodes, outputs, donated);
  const owned = new Set<Memory>();
  const ownedImages = new Set<Image>();
  const own = (bytes: number): Memory => {
    const memory = device.allocate(Math.max(bytes, 16));
    owned.add(memory);
    return memory;
  };

  const inputMemory: Memory[] = [];
  const memories = new Map<Block, Memory>();
  const memoryOf = (block: Block): Memory =>
    block.kind === "input" ? inputMemory[block.slot] : memories.get(block)!;
  const at = (block: Block, offset: number, size: number): BoundBuffer => ({
    memory: () => memoryOf(block),
    offset: 4 * offset,
    size: 4 * size,
  });
  const fixed = (memory: () => Memory, offset: number, size: number): BoundBuffer => ({
    memory,
    offset,
    size,
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

  // The iterations of each way to iterate, found anew for each run.
  const tables = new Map<string, Table>();
  const tableOf = (
    node: Node,
    dispatch: Dispatch,
    moving: Moving | undefined,
  ): Table | undefined => {
    const { each } = dispatch;
    if (each === undefined) return undefined;
    const of = "stepsOf" in each
      ? `steps${packingId(each.stepsOf)}:${each.most}`
      : `chunk${each.chunk}:${extentKey(dispatch.rows, node)}`;
    const key = `${of}:${moving?.columns}:${moving?.last}`;
    const table = tables.get(key) ?? {
      memory: own(SLOT),
      words: new Uint32Array(SLOT / 4),
      iterations: [],
      moving,
      find: (run) => {
        if ("chunk" in each) return chunks(extentOf(dispatch.rows, node, run), each.chunk);
        const packing = run.packings.get(each.stepsOf)!;
        return each.most === undefined ? steps(packing) : runsOfSteps(packing, each.most);
      },
    };
    tables.set(key, table);
    return table;
  };
  const indices = new Map<string, { index: RowIndex; packing: TracedPacking; memory: Memory }>();
  const indexOf = (index: RowIndex, packing: TracedPacking): Memory => {
    const key = `${index} ${packingId(packing)}`;
    const { memory } = indices.get(key) ?? { memory: own(4 * wordsOf(index) * packing.capacity) };
    indices.set(key, { index, packing, memory });
    return memory;
  };

  const commands: (Launch | Move | ImageCopy)[] = [];
  /** Copies of arguments, made before everything else. */
  const firstCopies: ImageCopy[] = [];
  const free: Memory[] = [];
  const give = (bytes: number): Memory => {
    const fit = free.filter((m) => m.bytes >= bytes && m.bytes <= 4 * bytes + 4096)
      .sort((a, b) => a.bytes - b.bytes)[0];
    if (fit === undefined) return own(bytes);
    free.splice(free.indexOf(fit), 1);
    return fit;
  };

  const freeImages: Image[] = [];
  const giveImage = (elements: number, texel: Texel = 4): Image => {
    const rows = imageRows(elements, texel);
    const fit = freeImages
      .filter((image) => image.texel === texel && image.rows >= rows && image.rows <= 2 * rows)
      .sort((a, b) => a.rows - b.rows)[0];
    if (fit !== undefined) return freeImages.splice(freeImages.indexOf(fit), 1)[0];
    const image = device.allocateImage(rows, texel);
    ownedImages.add(image);
    return image;
  };
  /** Images that hold what memory holds where the commands stand, by the elements that they hold. */
  const imagesOf = new Map<Block | Memory, Map<string, Image>>();
  const written = new Set<Block | Memory>();
  const forgetImages = (source: Block | Memory): void => {
    freeImages.push(...imagesOf.get(source)?.values() ?? []);
    imagesOf.delete(source);
  };
  const write = (source: Block | Memory): void => {
    written.add(source);
    forgetImages(source);
  };
  const imageOf = (
    source: Block | Memory,
    from: BoundBuffer,
    count: ImageCopy["count"],
    isPart: boolean,
  ): Image => {
    const images = imagesOf.get(source) ?? new Map<string, Image>();
    imagesOf.set(source, images);
    const key = `${from.offset} ${from.size}`;
    const known = images.get(key);
    if (known !== undefined) return known;
    const isArgument = !isPart && "kind" in source && source.kind === "input" &&
      !written.has(source);
    // An image that is filled before everything else has been in use by nothing before.
    const to = isArgument
      ? device.allocateImage(imageRows(from.size / 4))
      : giveImage(from.size / 4);
    ownedImages.add(to);
    images.set(key, to);
    (isArgument ? firstCopies : commands).push({ kind: "image", from, to, count });
    return to;
  };

  /** Scratch memory of a node, by its name; `size` in elements. */
  const named = (scratch: Map<string, Memory>, name: string, size: number): Memory => {
    const memory = scratch.get(name) ?? give(4 * size);
    scratch.set(name, memory);
    return memory;
  };

  /** Scratch memory of a node that is a texture, by its name. */
  const namedExchange = (exchanges: Map<string, Image>, name: string, size: number): Image => {
    const image = exchanges.get(name) ?? giveImage(size, 1);
    exchanges.set(name, image);
    return image;
  };

  let counter: Memory | undefined;
  /** The counter that the launches share: they run one after the other. */
  const counterMemory = (): Memory => {
    if (counter === undefined) {
      counter = own(16);
      upload(counter, new Uint32Array(4));
    }
    return counter;
  };

  function launch(
    node: Node,
    dispatch: Dispatch,
    scratch: Map<string, Memory>,
    exchanges: Map<string, Image>,
  ): Launch {
    const uses = new Set<number | Table>();
    const changes: (Block | Memory)[] = [];
    // Of what is read in parts the images are forgotten: the next part can have their memory.
    const parts: (Block | Memory)[] = [];
    const most = device.adapter.maxBindingBytes;
    /** How a tensor's window moves, of which no more than a part can be bound. */
    const movingOf = (binding: Binding): Moving | undefined => {
      if (binding.ofRows === undefined || !("output" in binding)) return undefined;
      const size = sizeOf(node.outputs[binding.output].shape);
      if (4 * size <= most) return undefined;
      return { columns: binding.ofRows, last: 64 * Math.ceil((size - most / 4) / 64) };
    };
    const moves = dispatch.bindings.map(movingOf);
    const table = tableOf(node, dispatch, moves.find((window) => window !== undefined));
    if (table !== undefined) uses.add(table);
    const bind = (binding: Binding, i: number): BoundBuffer | BoundImage => {
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
        return fixed(() => table!.memory, 0, 16);
      }
      if ("counter" in binding) return fixed(counterMemory, 0, 16);
      if ("rowIndex" in binding) {
        const memory = indexOf(binding.rowIndex, binding.of);
        return fixed(() => memory, 0, 4 * wordsOf(binding.rowIndex) * binding.of.capacity);
      }
      if ("scratch" in binding) {
        const { scratch: name, size } = binding;
        if (binding.access === "exchange") return { image: namedExchange(exchanges, name, size) };
        const memory = named(scratch, name, size);
        const window = binding.window ?? { offset: 0, size };
        const buffer = fixed(() => memory, 4 * window.offset, 4 * window.size);
        if (binding.access === "image") {
          const isPart = window.size < size;
          const image = imageOf(memory, buffer, () => window.size, isPart);
          if (isPart) parts.push(memory);
          return { image };
        }
        if (binding.access === "write") changes.push(memory);
        return buffer;
      }
      const tensor = "input" in binding ? node.inputs[binding.input] : node.outputs[binding.output];
      const { block, offset } = place(tensor);
      const window = binding.window ?? { offset: 0, size: sizeOf(tensor.shape) };
      if (binding.access === "image") {
        const { packing, shape } = tensor;
        const count = (run: RunInputs): number =>
          packing === undefined || binding.window !== undefined
            ? window.size
            : extentOf({ packing }, node, run) * sizeOf(shape.slice(1));
        const isPart = window.size < sizeOf(tensor.shape);
        const from = at(block, offset + window.offset, window.size);
        const image = imageOf(block, from, count, isPart);
        if (isPart) parts.push(block);
        return { image };
      }
      if (block.kind === "input") uses.add(block.slot);
      if (binding.access === "write") changes.push(block);
      const begins = moves[i]?.last ?? 0;
      if (begins > 0) return at(block, offset, window.size - begins);
      return at(block, offset + window.offset, Math.max(window.size, 1));
    };
    const bound = dispatch.bindings.map(bind);
    const sizes = bound.flatMap((b, i) =>
      "image" in b || dispatch.bindings[i].access === "uniform" ? [] : [b.size]
    );
    const largest = Math.max(...sizes);
    if (largest > most) {
      throw new InputError(
        `${node.operation.name} needs ${largest} bytes in one binding, but ` +
          `${device.adapter.name} allows ${most}: make the model or the batch smaller`,
      );
    }
    const { kernel, constants, straight, images, program } = dispatch;
    const code = kernelSource(kernel, { constants, straight, images, program });
    const access = dispatch.bindings.map((binding, i) =>
      "iteration" in binding
        ? "moving uniform"
        : moves[i] !== undefined
        ? "moving write"
        : binding.access
    );
    const pipeline = device.pipeline(code, access, kernel);
    for (const change of changes) write(change);
    for (const part of parts) forgetImages(part);
    return { kind: "launch", node, dispatch, pipeline, bound, table, uses, group: undefined };
  }

  for (const node of nodes) {
    if (node.operation.name === "constant") {
      const value = node.attributes.value as HostTensor;
      const memory = own(4 * value.data.length);
      upload(memory, value.data);
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
      write(to.block);
      commands.push({
        kind: "move",
        from: at(from.block, from.offset, size),
        to: at(to.block, to.offset, size),
      });
    }
    const scratch = new Map<string, Memory>();
    const exchanges = new Map<string, Image>();
    for (const dispatch of node.operation.lower?.(node, device.adapter) ?? []) {
      for (const index of dispatch.clear ?? []) {
        const { block, offset } = place(node.outputs[index]);
        write(block);
        commands.push({ kind: "move", to: at(block, offset, sizeOf(node.outputs[index].shape)) });
      }
      commands.push(launch(node, dispatch, scratch, exchanges));
    }
    for (const memory of scratch.values()) forgetImages(memory);
    free.push(...scratch.values());
    freeImages.push(...exchanges.values());
    for (const block of blocksEndingAt(node)) {
      forgetImages(block);
      free.push(memories.get(block)!);
    }
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

  commands.unshift(...firstCopies);

  const uniforms = own(Math.max(1, uniformWords.length) * SLOT);
  const uniformData = new Uint32Array(uniformWords.length * SLOT / 4);
  uniformWords.forEach((words, slot) => uniformData.set(words, slot * SLOT / 4));
  upload(uniforms, uniformData);

  const results = outputs.map((output) => place(output));
  const fresh = [...new Set(results.map(({ block }) => block))]
    .filter((block) => block.kind !== "input");
  let launches = 0;

  function upload({ buffer }: Memory, data: TensorData): void {
    // Deno panics when it is given no bytes.
    if (data.length > 0) queue.writeBuffer(buffer, 0, data as Uint32Array<ArrayBuffer>);
  }

  function changed(source: number | Table): void {
    for (const command of commands) {
      if (command.kind === "launch" && command.uses.has(source)) command.group = undefined;
    }
  }

  function checkRows({ packings }: RunInputs): void {
    for (const command of commands) {
      if (command.kind !== "launch") continue;
      const { node, dispatch: { rows, leastRows = 0, mostSteps = Infinity } } = command;
      if (typeof rows === "number" || !("packing" in rows)) continue;
      const packing = packings.get(rows.packing)!;
      const given = packedRows(packing), steps = packing.batchSizes.length;
      if (given < leastRows) {
        throw new RangeError(
          `Cannot compute ${node.operation.name} over ${given} rows: it takes at least ${leastRows}`,
        );
      }
      if (steps > mostSteps) {
        throw new RangeError(
          `Cannot compute ${node.operation.name} over a sequence of ${steps} steps: it takes at ` +
            `most ${mostSteps}`,
        );
      }
    }
  }

  function uploadInputs(run: RunInputs): void {
    for (const node of inputs) {
      const slot = Number(node.attributes.slot);
      const value = run.values[slot];
      let memory: Memory;
      if ("buffer" in value && "bytes" in value) {
        memory = value;
      } else {
        memory = uploads.get(slot) ?? own(4 * sizeOf(node.outputs[0].shape));
        uploads.set(slot, memory);
        upload(memory, value);
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
        upload(memories.get(place(node.outputs[i]).block)!, words);
      });
    }
    for (const { slot, extent, node } of uniformExtents) {
      uniformData[slot * SLOT / 4] = extentOf(extent, node, run);
    }
    if (uniformExtents.length > 0) upload(uniforms, uniformData);
    for (const table of tables.values()) fillTable(table, run);
    for (const { index, packing, memory } of indices.values()) {
      upload(memory, rowIndex(index, run.packings.get(packing)!));
    }
  }

  function fillTable(table: Table, run: RunInputs): void {
    table.iterations = table.find(run);
    const count = table.iterations.length;
    const words = count * SLOT / 4;
    if (table.words.length < words) {
      device.release(table.memory);
      owned.delete(table.memory);
      table.memory = own(2 * 4 * words);
      table.words = new Uint32Array(2 * words);
      changed(table);
    }
    table.iterations.forEach((iteration, i) => {
      const [x, y, z, w = beginOf(table.moving, iteration)] = iteration.words;
      table.words.set([x, y, z, w], i * SLOT / 4);
    });
    upload(table.memory, table.words.subarray(0, words));
  }

  function groupOf(command: Launch): GPUBindGroup {
    return command.group ??= device.gpu.createBindGroup({
      layout: command.pipeline.layout,
      entries: command.bound.map((bound, binding) => {
        if ("image" in bound) return { binding, resource: bound.image.view };
        const { memory, offset, size } = bound;
        return { binding, resource: { buffer: memory().buffer, offset, size } };
      }),
    });
  }

  /** Bytes where an iteration is in its table, and where its window begins. */
  const dynamicOffsets = new Uint32Array(2);

  function encode(run: RunInputs, encoder: GPUCommandEncoder): void {
    let pass: GPUComputePassEncoder | undefined;
    launches = 0;
    for (const command of commands) {
      if (command.kind === "move") {
        pass?.end();
        pass = undefined;
        const { from, to } = command;
        if (from === undefined) encoder.clearBuffer(to.memory().buffer, to.offset, to.size);
        else {
          const source = from.memory().buffer, target = to.memory().buffer;
          encoder.copyBufferToBuffer(source, from.offset, target, to.offset, to.size);
        }
        continue;
      }
      if (command.kind === "image") {
        pass?.end();
        pass = undefined;
        const { from, to, count } = command;
        const { buffer } = from.memory();
        // Whole rows: every buffer has room after its end for one.
        encoder.copyBufferToTexture(
          { buffer, offset: from.offset, bytesPerRow: 4 * IMAGE_ROW },
          { texture: to.texture },
          [IMAGE_ROW / 4, imageRows(count(run))],
        );
        continue;
      }
      const { dispatch, node, pipeline, table } = command;
      const rows = extentOf(dispatch.rows, node, run);
      pass ??= encoder.beginComputePass();
      pass.setPipeline(pipeline.pipeline);
      if (table === undefined) {
        launchOnce(command, pass, dispatch.grid({ rows, active: rows }));
        continue;
      }
      const { each } = dispatch;
      const reversed = each !== undefined && "stepsOf" in each && each.reversed;
      const { iterations } = table;
      for (let n = 0; n < iterations.length; n++) {
        const index = reversed ? iterations.length - 1 - n : n;
        const grid = dispatch.grid({ rows, active: iterations[index].active });
        dynamicOffsets[0] = index * SLOT;
        dynamicOffsets[1] = 4 * beginOf(table.moving, iterations[index]);
        launchOnce(command, pass, grid, table.moving === undefined ? 1 : 2);
      }
    }
    pass?.end();
  }

  function launchOnce(
    command: Launch,
    pass: GPUComputePassEncoder,
    [x, y, z]: readonly [number, number, number],
    offsets = 0,
  ): void {
    if (x * y * z === 0) return;
    pass.setBindGroup(0, groupOf(command), dynamicOffsets, 0, offsets);
    pass.dispatchWorkgroups(x, y, z);
    launches++;
  }

  return {
    get launches(): number {
      return launches;
    },
    run(run: RunInputs): readonly RunOutput[] {
      device.check();
      checkRows(run);
      uploadInputs(run);
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
      for (const image of ownedImages) device.releaseImage(image);
      owned.clear();
      ownedImages.clear();
    },
  };
}
