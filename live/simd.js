// The two slow loops of network.js as WebAssembly, four numbers at a time. The module is written here, instruction by
// instruction, because a page that is opened as a file may not load one. Where a browser has no such instructions, or
// no memory, live.engine stays what it was.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  // ---------------------------------------------------------------- the module

  // Numbers as WebAssembly writes them: seven bits a byte, the eighth says that more follow.
  function unsigned(value) {
    return value < 128 ? [value] : [value & 127 | 128, ...unsigned(value >>> 7)];
  }

  function signed(value) {
    return value >= -64 && value < 64 ? [value & 127] : [value & 127 | 128, ...signed(value >> 7)];
  }

  const vector = parts => [...unsigned(parts.length), ...parts.flat()];
  const section = (id, bytes) => [id, ...unsigned(bytes.length), ...bytes];
  const get = local => [0x20, ...unsigned(local)];
  const set = local => [0x21, ...unsigned(local)];
  const constant = value => [0x41, ...signed(value)];
  const ADD = 0x6a, MULTIPLY = 0x6c;
  const VECTOR_ADD = [0xfd, 0xe4, 0x01], VECTOR_MULTIPLY = [0xfd, 0xe6, 0x01];
  const ZERO = [0xfd, 0x0c, ...Array(16).fill(0)];
  const load = (address, offset) => [...get(address), 0xfd, 0x00, 2, ...unsigned(offset)];
  const loadSplat = address => [...get(address), 0xfd, 0x09, 2, 0];
  const store = (address, offset, value) => [...get(address), ...get(value), 0xfd, 0x0b, 2, ...unsigned(offset)];
  const increase = (local, amount) => [...get(local), ...amount, ADD, ...set(local)];
  const scaled = (a, b) => [...get(a), ...b, MULTIPLY];
  // Does the body, at least once, until `local` has come down to zero.
  const repeat = (local, body) => [0x03, 0x40, ...body, ...increase(local, constant(-1)), ...get(local), 0x0d, 0, 0x0b];

  // multiply(a, b, out, rows, panels, depth): a is (4 rows, depth), b is panels of (depth, 8), out is (4 rows, 8 panels).
  // Locals beyond the six: i, k, pointers to four rows, a pointer into b, one into out, the bytes of a row of a, of a
  // row of out, the panel's own start in out; then eight sums, two loads of b and one of a.
  function multiply() {
    const [a, b, out, rows, panels, depth, i, k, p0, p1, p2, p3, q, o, bytesA, bytesOut, column] = Array(17).keys();
    const sum = n => 17 + n, b0 = 25, b1 = 26, value = 27;
    const row = (pointer, n) => [
      ...loadSplat(pointer), ...set(value),
      ...[b0, b1].flatMap((half, j) => [
        ...get(sum(2 * n + j)), ...get(value), ...get(half), ...VECTOR_MULTIPLY, ...VECTOR_ADD, ...set(sum(2 * n + j)),
      ]),
      ...increase(pointer, constant(4)),
    ];
    const pointers = [p0, p1, p2, p3];
    const block = [
      ...pointers.slice(1).flatMap((p, n) => [...get(pointers[n]), ...get(bytesA), ADD, ...set(p)]),
      ...Array.from({ length: 8 }, (_, n) => [...ZERO, ...set(sum(n))]).flat(),
      ...get(b), ...set(q), ...get(depth), ...set(k),
      ...repeat(k, [
        ...load(q, 0), ...set(b0), ...load(q, 16), ...set(b1),
        ...pointers.flatMap((p, n) => row(p, n)),
        ...increase(q, constant(32)),
      ]),
      ...[0, 1, 2, 3].flatMap(n => [
        ...store(o, 0, sum(2 * n)), ...store(o, 16, sum(2 * n + 1)), ...increase(o, get(bytesOut)),
      ]),
      ...get(p3), ...set(p0), // the last row's end is the next block's start
    ];
    const code = [
      ...scaled(depth, constant(4)), ...set(bytesA), ...scaled(panels, constant(32)), ...set(bytesOut),
      ...get(out), ...set(column),
      ...repeat(panels, [
        ...get(a), ...set(p0), ...get(column), ...set(o), ...get(rows), ...set(i),
        ...repeat(i, block),
        ...increase(column, constant(32)), ...get(q), ...set(b),
      ]),
    ];
    return body([[11, 0x7f], [11, 0x7b]], code);
  }

  // filter(in, weights, out, height, width, channels, kernel, step, line, next): every four channels of every place.
  // step: bytes from one place to the next in `in`; line: bytes of a row of `in`; next: bytes from the end of a row of
  // places to the start of the next; channels: in fours.
  function filter() {
    const [source, weights, out, height, width, channels, kernel, step, line, next, x, c, u, v, p, w, from, bytes] =
      Array(18).keys();
    const sum = 18;
    const tap = [
      ...get(sum), ...load(p, 0), ...load(w, 0), ...VECTOR_MULTIPLY, ...VECTOR_ADD, ...set(sum),
      ...increase(p, get(bytes)), ...increase(w, get(bytes)),
    ];
    const four = [
      ...ZERO, ...set(sum), ...get(kernel), ...set(u), ...get(from), ...set(p),
      ...repeat(u, [
        ...get(kernel), ...set(v), ...repeat(v, tap),
        // back to the row's first tap, then a line down
        ...get(p), ...scaled(kernel, get(bytes)), 0x6b, ...get(line), ADD, ...set(p),
      ]),
      ...store(out, 0, sum), ...increase(out, constant(16)), ...increase(from, constant(16)),
      // the weights of the next four channels
      ...get(w), ...scaled(kernel, [...get(kernel), ...get(bytes), MULTIPLY]), 0x6b, ...constant(16), ADD, ...set(w),
    ];
    const code = [
      ...scaled(channels, constant(16)), ...set(bytes),
      ...repeat(height, [
        ...get(width), ...set(x),
        ...repeat(x, [
          ...get(source), ...set(from), ...get(weights), ...set(w), ...get(channels), ...set(c),
          ...repeat(c, four),
          ...increase(source, get(step)),
        ]),
        ...increase(source, get(next)),
      ]),
    ];
    return body([[8, 0x7f], [1, 0x7b]], code);
  }

  function body(locals, code) {
    const bytes = [...vector(locals.map(([count, type]) => [...unsigned(count), type])), ...code, 0x0b];
    return [...unsigned(bytes.length), ...bytes];
  }

  const text = name => vector([...name].map(letter => letter.charCodeAt(0)));

  function module() {
    const takes = count => [0x60, ...vector(Array(count).fill(0x7f)), 0];
    return Uint8Array.from([
      0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
      ...section(1, vector([takes(6), takes(10)])),
      ...section(2, vector([[...text("live"), ...text("memory"), 2, 0, 1]])), // a memory of at least one page
      ...section(3, vector([[0], [1]])),
      ...section(7, vector([[...text("multiply"), 0, 0], [...text("filter"), 0, 1]])),
      ...section(10, vector([multiply(), filter()])),
    ]);
  }

  // ---------------------------------------------------------------- the engine

  const PAGE = 65536;

  class Simd {
    constructor() {
      this.name = "WebAssembly";
      this.memory = new WebAssembly.Memory({ initial: 16 });
      const instance = new WebAssembly.Instance(new WebAssembly.Module(module()), { live: { memory: this.memory } });
      Object.assign(this, { multiply: instance.exports.multiply, filter: instance.exports.filter });
      this.kept = 64; // the first byte that no layer's filters occupy
    }

    // Room for `bytes` bytes after what is kept, as floats.
    floats(bytes) {
      const missing = this.kept + bytes - this.memory.buffer.byteLength;
      if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
      return new Float32Array(this.memory.buffer);
    }

    // A matrix (depth, columns) as panels of eight columns, kept; at(k, j) gives its numbers.
    keep(depth, columns, at) {
      const panels = Math.ceil(columns / 8), bytes = panels * depth * 32;
      const floats = this.floats(bytes), start = this.kept;
      for (let panel = 0, i = start / 4; panel < panels; panel++) {
        for (let k = 0; k < depth; k++) {
          for (let j = 8 * panel; j < 8 * panel + 8; j++, i++) floats[i] = j < columns ? at(k, j) : 0;
        }
      }
      this.kept += bytes;
      return { start, panels };
    }

    // a, (rows, depth), times a kept matrix of so many columns.
    times(a, { start, panels }, rows, columns, depth) {
      const blocks = Math.ceil(rows / 4), first = this.kept, second = first + 16 * blocks * depth;
      const floats = this.floats(16 * blocks * depth + 128 * blocks * panels);
      floats.set(a, first / 4);
      this.multiply(first, start, second, blocks, panels, depth);
      const pitch = 8 * panels;
      const out = live.floats(rows * columns);
      if (pitch === columns) {
        out.set(floats.subarray(second / 4, second / 4 + out.length));
        return out;
      }
      for (let i = 0; i < rows; i++) {
        const from = second / 4 + i * pitch;
        out.set(floats.subarray(from, from + columns), i * columns);
      }
      return out;
    }

    product(layer, windows, places) {
      const { weights, inputs, outputs } = layer;
      layer.panels = layer.panels || this.keep(inputs, outputs, (k, j) => weights[j * inputs + k]);
      return this.times(windows, layer.panels, places, outputs, inputs);
    }

    turnedProduct(layer, slope, places) {
      const { weights, inputs, outputs } = layer;
      layer.turnedPanels = layer.turnedPanels || this.keep(outputs, inputs, (k, j) => weights[k * inputs + j]);
      return this.times(slope, layer.turnedPanels, places, inputs, outputs);
    }

    filtered(map, weights, kernel, stride) {
      const { values, width, channels } = map;
      if (channels % 4) return live.loops.filtered(map, weights, kernel, stride);
      const [tall, wide] = [map.height, width].map(side => Math.floor((side - kernel) / stride) + 1);
      const first = this.kept, second = first + 4 * values.length, third = second + 4 * weights.length;
      const count = tall * wide * channels;
      const floats = this.floats(4 * (values.length + weights.length + count));
      floats.set(values, first / 4);
      floats.set(weights, second / 4);
      const pixel = 4 * channels, step = stride * pixel, line = width * pixel;
      this.filter(first, second, third, tall, wide, channels / 4, kernel, step, line, stride * line - wide * step);
      const out = live.floats(count);
      out.set(floats.subarray(third / 4, third / 4 + count));
      return { values: out, height: tall, width: wide, channels };
    }
  }

  try {
    live.engine = new Simd();
  } catch {
    // Plain loops it is.
  }
})();
