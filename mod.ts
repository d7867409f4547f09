export * from "./src/core/tensor.ts";
