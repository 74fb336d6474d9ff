// A convolutional network, forwards and backwards, in plain loops; simd.js replaces the two slow ones where it can.
//
// A map is {values, height, width, channels}: a Float32Array, row by row, pixel by pixel, the channels of a pixel side
// by side. A picture is a map of three channels in [0, 1]; the output of a linear layer is a map of 1 x 1.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  const HUGE = 3e38; // more than any map holds

  // Numbers whose memory may have served before: new memory costs a browser more than the sums in it. What is no longer
  // needed is given back by `recycle`; whoever takes `floats` overwrites all of them.
  const spare = new Map(); // length -> arrays

  function floats(length) {
    return spare.get(length)?.pop() || new Float32Array(length);
  }

  function recycle(array) {
    if (!spare.has(array.length)) spare.set(array.length, []);
    spare.get(array.length).push(array);
  }

  function emptyMap(height, width, channels) {
    return { values: floats(height * width * channels).fill(0), height, width, channels };
  }

  function copyOf(values) {
    const out = floats(values.length);
    out.set(values);
    return out;
  }

  // ---------------------------------------------------------------- the two slow loops

  // out[i, j] = sum over k of a[i, k] b[j, k]: a has `rows` rows, b has `columns` rows, both of `depth` numbers.
  // Four rows by two columns at a time, so that each number that is read serves several sums; where rows or columns
  // run out, the last one is computed again.
  function products(a, b, rows, columns, depth) {
    const out = floats(rows * columns);
    for (let j = 0; j < columns; j += 2) {
      const j1 = Math.min(j + 1, columns - 1);
      const b0 = j * depth, b1 = j1 * depth;
      for (let i = 0; i < rows; i += 4) {
        const i1 = Math.min(i + 1, rows - 1), i2 = Math.min(i + 2, rows - 1), i3 = Math.min(i + 3, rows - 1);
        const a0 = i * depth, a1 = i1 * depth, a2 = i2 * depth, a3 = i3 * depth;
        let s00 = 0, s10 = 0, s20 = 0, s30 = 0, s01 = 0, s11 = 0, s21 = 0, s31 = 0;
        for (let k = 0; k < depth; k++) {
          const v0 = b[b0 + k], v1 = b[b1 + k];
          const w0 = a[a0 + k], w1 = a[a1 + k], w2 = a[a2 + k], w3 = a[a3 + k];
          s00 += w0 * v0; s10 += w1 * v0; s20 += w2 * v0; s30 += w3 * v0;
          s01 += w0 * v1; s11 += w1 * v1; s21 += w2 * v1; s31 += w3 * v1;
        }
        const o0 = i * columns, o1 = i1 * columns, o2 = i2 * columns, o3 = i3 * columns;
        out[o0 + j] = s00; out[o1 + j] = s10; out[o2 + j] = s20; out[o3 + j] = s30;
        out[o0 + j1] = s01; out[o1 + j1] = s11; out[o2 + j1] = s21; out[o3 + j1] = s31;
      }
    }
    return out;
  }

  // Each channel with its own filter: `weights` are (kernel, kernel, channels), and the map has its border already.
  function filtered(map, weights, kernel, stride) {
    const { values, width, channels } = map;
    const out = emptyMap(
      Math.floor((map.height - kernel) / stride) + 1, Math.floor((width - kernel) / stride) + 1, channels);
    for (let y = 0, to = 0; y < out.height; y++) {
      for (let x = 0; x < out.width; x++, to += channels) {
        for (let u = 0, w = 0; u < kernel; u++) {
          let from = ((y * stride + u) * width + x * stride) * channels;
          for (let v = 0; v < kernel; v++, w += channels, from += channels) {
            for (let c = 0; c < channels; c++) out.values[to + c] += values[from + c] * weights[w + c];
          }
        }
      }
    }
    return out;
  }

  function transposed(matrix, rows, columns) {
    const out = new Float32Array(rows * columns);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) out[j * rows + i] = matrix[i * columns + j];
    }
    return out;
  }

  // What an engine does for a layer: its product with the filters, or with the filters turned, and its depthwise filter.
  // The turned ones are made when first asked for.
  const loops = {
    name: "plain loops",
    product: (layer, windows, places) => products(windows, layer.weights, places, layer.outputs, layer.inputs),
    turnedProduct(layer, slope, places) {
      layer.turned = layer.turned || transposed(layer.weights, layer.outputs, layer.inputs);
      return products(slope, layer.turned, places, layer.inputs, layer.outputs);
    },
    filtered,
  };

  // ---------------------------------------------------------------- windows and borders

  // What a layer adds around its input before it looks: as many rows above as columns on the left, and below, right.
  function border({ padding }) {
    return Array.isArray(padding) ? padding : [padding, padding];
  }

  function outputSize(layer, { height, width }) {
    const [before, after] = border(layer);
    return [height, width].map(side => Math.floor((side + before + after - layer.kernel) / layer.stride) + 1);
  }

  // The map with zeros around it and, where `apart` is more than 1, with zeros between its pixels.
  function padded({ values, height, width, channels }, before, after, apart = 1) {
    const out = emptyMap(
      (height - 1) * apart + 1 + before + after, (width - 1) * apart + 1 + before + after, channels);
    for (let y = 0; y < height; y++) {
      const to = (before + y * apart) * out.width + before;
      if (apart === 1) {
        out.values.set(values.subarray(y * width * channels, (y + 1) * width * channels), to * channels);
        continue;
      }
      for (let x = 0; x < width; x++) {
        const from = (y * width + x) * channels;
        out.values.set(values.subarray(from, from + channels), (to + x * apart) * channels);
      }
    }
    return out;
  }

  // Calls visit(weight, pixel, count) for each row of each window: `count` numbers of the padded map from `pixel` on
  // belong to the window's numbers from `weight` on, window after window.
  function walkWindows(map, { kernel, stride }, height, width, visit) {
    const count = kernel * map.channels;
    for (let y = 0, weight = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let u = 0; u < kernel; u++, weight += count) {
          visit(weight, ((y * stride + u) * map.width + x * stride) * map.channels, count);
        }
      }
    }
  }

  function isPointwise({ kernel, stride, padding }) {
    return kernel === 1 && stride === 1 && padding === 0;
  }

  function withBias(map, { bias }) {
    const { values, channels } = map;
    for (let p = 0; p < values.length; p += channels) {
      for (let c = 0; c < channels; c++) values[p + c] += bias[c];
    }
    return map;
  }

  // The padded slope without its border.
  function inner(map, before, { height, width, channels }) {
    if (map.height === height && map.width === width) return map.values;
    const out = floats(height * width * channels);
    for (let y = 0; y < height; y++) {
      const from = ((y + before) * map.width + before) * channels;
      out.set(map.values.subarray(from, from + width * channels), y * width * channels);
    }
    return out;
  }

  // ---------------------------------------------------------------- the kinds of layers

  // kind -> forward(layer, input, maps) -> output, and backward(layer, slope, input, output, rule) -> the slope of the
  // input: how fast the score grows with each of the input's numbers, given how fast with each of the output's.
  const kinds = {
    conv: {
      forward(layer, input) {
        const [height, width] = outputSize(layer, input);
        let windows = input.values;
        if (!isPointwise(layer)) {
          const map = padded(input, ...border(layer));
          windows = floats(height * width * layer.inputs);
          walkWindows(map, layer, height, width, (weight, pixel, count) => {
            for (let i = 0; i < count; i++) windows[weight + i] = map.values[pixel + i];
          });
        }
        const values = live.engine.product(layer, windows, height * width);
        if (windows !== input.values) recycle(windows);
        return withBias({ values, height, width, channels: layer.outputs }, layer);
      },
      backward(layer, slope, input, { height, width }) {
        const slopes = live.engine.turnedProduct(layer, slope, height * width);
        if (isPointwise(layer)) return slopes;
        const [before, after] = border(layer);
        const back = emptyMap(input.height + before + after, input.width + before + after, input.channels);
        walkWindows(back, layer, height, width, (weight, pixel, count) => {
          for (let i = 0; i < count; i++) back.values[pixel + i] += slopes[weight + i];
        });
        return inner(back, before, input);
      },
    },
    depthwise: {
      forward(layer, input) {
        const map = padded(input, ...border(layer));
        const out = live.engine.filtered(map, layer.weights, layer.kernel, layer.stride);
        recycle(map.values);
        return withBias(out, layer);
      },
      // The slope, spread to the input's pitch, filtered with the filters turned by half a turn.
      backward(layer, slope, input, output) {
        const { kernel, stride } = layer, { height, width, channels } = input;
        layer.turned = layer.turned || halfTurned(layer.weights, channels);
        const [before, after] = border(layer);
        const spread = padded({ ...output, values: slope }, kernel - 1, kernel - 1 + stride, stride);
        const back = live.engine.filtered(spread, layer.turned, kernel, 1);
        // Where the border was larger than what the windows reached, the rest has no slope.
        const whole = emptyMap(height + before + after, width + before + after, channels);
        for (let y = 0; y < whole.height && y < back.height; y++) {
          const count = Math.min(whole.width, back.width) * channels, from = y * back.width * channels;
          whole.values.set(back.values.subarray(from, from + count), y * whole.width * channels);
        }
        recycle(spread.values);
        recycle(back.values);
        const found = inner(whole, before, input);
        if (found !== whole.values) recycle(whole.values);
        return found;
      },
    },
    linear: {
      forward: (layer, input) => withBias(
        { values: live.engine.product(layer, input.values, 1), height: 1, width: 1, channels: layer.outputs }, layer),
      backward: (layer, slope) => live.engine.turnedProduct(layer, slope, 1),
    },
    // Products with the truth of a comparison, not branches: which way a branch goes is a coin toss here, and a wrong
    // guess costs a processor ten times the product.
    relu: {
      forward({ top = HUGE }, input) {
        const { values } = input, out = floats(values.length);
        for (let i = 0; i < out.length; i++) {
          const v = values[i];
          out[i] = v * ((v > 0) & (v < top)) + top * (v >= top);
        }
        return { ...input, values: out };
      },
      backward({ top = HUGE }, slope, { values }, output, rule) {
        const out = floats(slope.length), anyInput = rule === "deconvnet", anySlope = rule === "gradient";
        for (let i = 0; i < out.length; i++) {
          const v = values[i], g = slope[i];
          out[i] = g * (anyInput | (v > 0) & (v < top)) * (anySlope | (g > 0));
        }
        return out;
      },
    },
    maxpool: {
      forward(layer, input) {
        const [height, width] = outputSize(layer, input);
        const out = emptyMap(height, width, input.channels);
        poolWinners(layer, input, out).forEach((pixel, i) => { out.values[i] = input.values[pixel]; });
        return out;
      },
      backward(layer, slope, input, output) {
        const back = floats(input.values.length).fill(0);
        poolWinners(layer, input, output).forEach((pixel, i) => { back[pixel] += slope[i]; });
        return back;
      },
    },
    mean: { // over all positions
      forward(layer, { values, height, width, channels }) {
        const out = emptyMap(1, 1, channels), share = 1 / (height * width);
        for (let i = 0; i < values.length; i++) out.values[i % channels] += values[i] * share;
        return out;
      },
      backward(layer, slope, { values, height, width, channels }) {
        const out = floats(values.length);
        for (let i = 0; i < out.length; i++) out[i] = slope[i % channels] / (height * width);
        return out;
      },
    },
    add: { // the map of the layer `other`
      forward(layer, input, maps) {
        const values = copyOf(input.values), added = maps[layer.other].values;
        for (let i = 0; i < values.length; i++) values[i] += added[i];
        return { ...input, values };
      },
      backward: (layer, slope) => copyOf(slope),
    },
  };

  function halfTurned(weights, channels) {
    const out = new Float32Array(weights.length);
    for (let tap = 0; tap < weights.length; tap += channels) {
      out.set(weights.subarray(tap, tap + channels), weights.length - channels - tap);
    }
    return out;
  }

  // Which of the input's numbers wins each window; among equals the first, as in PyTorch.
  function poolWinners({ kernel, stride, padding }, input, { height, width, channels }) {
    const winners = new Int32Array(height * width * channels);
    for (let row = 0, i = 0; row < height; row++) {
      const top = Math.max(row * stride - padding, 0), bottom = Math.min(row * stride - padding + kernel, input.height);
      for (let column = 0; column < width; column++) {
        const left = Math.max(column * stride - padding, 0);
        const right = Math.min(column * stride - padding + kernel, input.width);
        for (let c = 0; c < channels; c++, i++) {
          let winner = (top * input.width + left) * channels + c;
          for (let y = top; y < bottom; y++) {
            for (let x = left; x < right; x++) {
              const pixel = (y * input.width + x) * channels + c;
              if (input.values[pixel] > input.values[winner]) winner = pixel;
            }
          }
          winners[i] = winner;
        }
      }
    }
    return winners;
  }

  // ---------------------------------------------------------------- the network

  class Network {
    // layers: [{name, kind, ...}] in order. conv has inputs (kernel * kernel * channels), outputs, kernel, stride and
    // padding (one number, or what comes before and after), depthwise channels and the same window, linear inputs and
    // outputs, maxpool a window, relu perhaps a top, add the name of the `other` map. weights: one Float32Array with
    // each layer's filters, as network.py orders them, then its bias. mean, deviation: of the pictures it was
    // trained on.
    constructor(layers, weights, mean, deviation) {
      let used = 0;
      const take = count => weights.subarray(used, (used += count));
      this.layers = layers.map((layer, i) => {
        const input = i ? layers[i - 1].name : "input";
        const filters = layer.outputs ? layer.outputs * layer.inputs : (layer.channels || 0) * layer.kernel ** 2;
        if (!filters) return { ...layer, input };
        return { ...layer, input, weights: take(filters), bias: take(layer.outputs || layer.channels) };
      });
      if (used !== weights.length) throw new Error(`the layers take ${used} weights, got ${weights.length}`);
      this.last = layers[layers.length - 1].name;
      this.mean = mean;
      this.deviation = deviation;
    }

    // Every layer's map by its name, from "input", the normalised picture, to `deepest`; the last has the logits.
    forward(picture, deepest = this.last) {
      const values = floats(picture.values.length);
      for (let i = 0; i < values.length; i++) values[i] = (picture.values[i] - this.mean) / this.deviation;
      const maps = { input: { ...picture, values } };
      for (const layer of this.layers) {
        maps[layer.name] = kinds[layer.kind].forward(layer, maps[layer.input], maps);
        if (layer.name === deepest) return maps;
      }
      throw new Error(`no layer ${deepest}`);
    }

    logits(picture) {
      const maps = this.forward(picture), logits = maps[this.last].values.slice();
      this.forget(maps);
      return logits;
    }

    // Gives back what forward() returned, for the next one to use.
    forget(maps) {
      for (const { values } of Object.values(maps)) recycle(values);
    }

    // The slope of a score with respect to the picture: maps from forward(), and the score's slope in each number of
    // the map of `layer`. rule: what a ReLU lets through, as in chapter 5: "gradient", "guided" or "deconvnet".
    backward(maps, slope, { layer = this.last, rule = "gradient" } = {}) {
      const slopes = { [layer]: copyOf(slope) };
      const collect = (name, found) => {
        const before = slopes[name];
        slopes[name] = found;
        if (!before) return;
        for (let i = 0; i < found.length; i++) found[i] += before[i];
        recycle(before);
      };
      for (let i = this.layers.findIndex(({ name }) => name === layer); i >= 0; i--) {
        const { name, kind, input, other } = this.layers[i], found = slopes[name];
        delete slopes[name];
        collect(input, kinds[kind].backward(this.layers[i], found, maps[input], maps[name], rule));
        if (other) collect(other, found);
        else recycle(found);
      }
      const found = slopes.input.map(g => g / this.deviation);
      recycle(slopes.input);
      return found;
    }
  }

  // ---------------------------------------------------------------- a picture that differs in a box

  // The rows (or columns) of a layer's output that see some of the input's rows from `from` to `to`.
  function reached({ kernel, stride }, before, from, to, count) {
    return [
      Math.max(0, Math.ceil((from + before - kernel + 1) / stride)),
      Math.min(count, Math.floor((to - 1 + before) / stride) + 1),
    ];
  }

  // What a picture's maps become where it is changed in a box: the same numbers as forward() finds, layer after layer
  // computed only where they can have changed. A part is {top, left, map}.
  class Change {
    constructor(network, maps) {
      Object.assign(this, { network, maps, parts: {} });
    }

    logits(picture, { top, left, bottom, right }) {
      const { mean, deviation, layers, last } = this.network;
      const box = cut(picture, top, left, bottom - top, right - left, 0);
      box.values.forEach((v, i) => { box.values[i] = (v - mean) / deviation; });
      this.parts = { input: { top, left, map: box } };
      for (const layer of layers) this.parts[layer.name] = this.part(layer);
      const logits = this.parts[last].map.values.slice();
      for (const { map } of Object.values(this.parts)) recycle(map.values);
      return logits;
    }

    // What has changed in a layer's output.
    part(layer) {
      const { top, left, map } = this.parts[layer.input], { forward } = kinds[layer.kind];
      if (layer.kind === "relu") return { top, left, map: forward(layer, map) };
      if (layer.kind === "add") {
        const other = this.cut(layer.other, top, left, map.height, map.width);
        const out = forward(layer, map, { [layer.other]: other });
        recycle(other.values);
        return { top, left, map: out };
      }
      const input = this.maps[layer.input], whole = this.maps[layer.name];
      const all = !layer.kernel; // the mean and the linear layers take all positions
      const [before] = all ? [0] : border(layer), { kernel = 0, stride = 1 } = layer;
      const [y0, y1] = all ? [0, 1] : reached(layer, before, top, top + map.height, whole.height);
      const [x0, x1] = all ? [0, 1] : reached(layer, before, left, left + map.width, whole.width);
      const seen = all ? this.cut(layer.input, 0, 0, input.height, input.width) : this.cut(
        layer.input, y0 * stride - before, x0 * stride - before, (y1 - y0 - 1) * stride + kernel,
        (x1 - x0 - 1) * stride + kernel, layer.kind === "maxpool" ? -HUGE : 0);
      const out = forward(all ? layer : bare(layer), seen);
      recycle(seen.values);
      return { top: y0, left: x0, map: out };
    }

    // A rectangle of a layer's map as it is now; beyond the map, `outside`.
    cut(name, top, left, height, width, outside = 0) {
      const out = cut(this.maps[name], top, left, height, width, outside);
      const { top: y0, left: x0, map } = this.parts[name];
      const from = Math.max(left, x0), count = Math.min(left + width, x0 + map.width) - from;
      for (let y = Math.max(top, y0); count > 0 && y < Math.min(top + height, y0 + map.height); y++) {
        const at = ((y - y0) * map.width + from - x0) * map.channels;
        out.values.set(
          map.values.subarray(at, at + count * map.channels), ((y - top) * width + from - left) * map.channels);
      }
      return out;
    }
  }

  // The layer without its border, which a cut has already.
  function bare(layer) {
    layer.bare = layer.bare || { ...layer, padding: 0 };
    return layer.bare;
  }

  function cut({ values, height, width, channels }, top, left, tall, wide, outside) {
    const out = floats(tall * wide * channels).fill(outside);
    const from = Math.max(left, 0), count = (Math.min(left + wide, width) - from) * channels;
    for (let y = Math.max(top, 0); count > 0 && y < Math.min(top + tall, height); y++) {
      const at = (y * width + from) * channels;
      out.set(values.subarray(at, at + count), ((y - top) * wide + from - left) * channels);
    }
    return { values: out, height: tall, width: wide, channels };
  }

  Object.assign(live, { Network, Change, loops, floats, recycle, engine: loops });
})();
