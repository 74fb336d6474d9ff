// A convolutional network, forwards and backwards: convolution, ReLU, max-pooling and linear layers, in plain loops.
//
// A map is {values, channels, height, width}: a Float32Array, channel by channel and row by row. A picture is a map of
// three channels in [0, 1]; the code of a linear layer is a map of 1 x 1.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  function emptyMap(channels, height, width) {
    return { values: new Float32Array(channels * height * width), channels, height, width };
  }

  // out[i, j] = sum over k of a[i, k] b[j, k]. Nearly all of the time is spent here.
  // Four rows by two columns at a time, so that each number that is read serves several sums; where rows or columns
  // run out, the last one is computed again.
  function products(a, b, rows, columns, depth) {
    const out = new Float32Array(rows * columns);
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

  function transposed(matrix, rows, columns) {
    const out = new Float32Array(rows * columns);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) out[j * rows + i] = matrix[i * columns + j];
    }
    return out;
  }

  // Calls visit(weight, place, pixel) for each weight of a channel's window that lies on the map, place by place.
  // A pixel is an index into the map's values, a weight one into the c * k * k of a filter.
  function walkWindows({ kernel, stride, padding }, map, { height, width }, visit) {
    for (let c = 0, weight = 0; c < map.channels; c++) {
      for (let u = 0; u < kernel; u++) {
        for (let v = 0; v < kernel; v++, weight++) {
          // The columns whose window has this weight on the map
          const first = Math.max(0, Math.ceil((padding - v) / stride));
          const end = Math.min(width, Math.floor((map.width - 1 + padding - v) / stride) + 1);
          for (let i = 0; i < height; i++) {
            const y = i * stride + u - padding;
            if (y < 0 || y >= map.height) continue;
            const row = (c * map.height + y) * map.width + v - padding;
            for (let j = first; j < end; j++) visit(weight, i * width + j, row + j * stride);
          }
        }
      }
    }
  }

  // What conv and linear share: each place of the output is a product of every filter with one window of the input.
  function weighted({ weights, bias, inputs, outputs }, windows, out) {
    const places = out.height * out.width;
    out.values = products(weights, windows, outputs, places, inputs);
    for (let o = 0; o < outputs; o++) {
      for (let p = o * places; p < (o + 1) * places; p++) out.values[p] += bias[o];
    }
    return out;
  }

  // The slope of each window's numbers, (inputs, places), from the slope of the output, (outputs, places).
  function windowSlopes(layer, slope) {
    const { outputs, inputs } = layer;
    const places = slope.length / outputs;
    layer.turned = layer.turned || transposed(layer.weights, outputs, inputs);
    return products(layer.turned, transposed(slope, outputs, places), inputs, places, outputs);
  }

  // kind -> forward(layer, input) -> output, and backward(layer, slope, input, output) -> the slope of the input:
  // how fast the score grows with each of the input's numbers, given how fast it grows with each of the output's.
  const kinds = {
    conv: {
      forward(layer, input) {
        const [height, width] = [input.height, input.width].map(
          side => Math.floor((side + 2 * layer.padding - layer.kernel) / layer.stride) + 1);
        const out = emptyMap(layer.outputs, height, width);
        const windows = new Float32Array(height * width * layer.inputs); // zero, like the border
        walkWindows(layer, input, out, (weight, place, pixel) => {
          windows[place * layer.inputs + weight] = input.values[pixel];
        });
        return weighted(layer, windows, out);
      },
      backward(layer, slope, input, output) {
        const slopes = windowSlopes(layer, slope);
        const places = output.height * output.width;
        const back = new Float32Array(input.values.length);
        walkWindows(layer, input, output, (weight, place, pixel) => {
          back[pixel] += slopes[weight * places + place];
        });
        return back;
      },
    },
    linear: {
      forward: (layer, input) => weighted(layer, input.values, emptyMap(layer.outputs, 1, 1)),
      backward: windowSlopes,
    },
    relu: {
      forward: (layer, input) => ({ ...input, values: input.values.map(v => Math.max(v, 0)) }),
      backward: (layer, slope, input) => slope.map((g, i) => (input.values[i] > 0 ? g : 0)),
    },
    maxpool: {
      forward(layer, input) {
        const winners = poolWinners(layer, input);
        winners.values = Float32Array.from(winners.values, pixel => input.values[pixel]);
        return winners;
      },
      backward(layer, slope, input) {
        const back = new Float32Array(input.values.length);
        poolWinners(layer, input).values.forEach((pixel, i) => { back[pixel] += slope[i]; });
        return back;
      },
    },
  };

  // Which pixel wins each window; among equals the first, as in PyTorch.
  function poolWinners({ kernel, stride, padding }, input) {
    const [height, width] = [input.height, input.width].map(
      side => Math.floor((side + 2 * padding - kernel) / stride) + 1);
    const out = emptyMap(input.channels, height, width);
    out.values = new Int32Array(out.values.length);
    for (let c = 0, i = 0; c < input.channels; c++) {
      for (let row = 0; row < height; row++) {
        const top = row * stride - padding, bottom = Math.min(top + kernel, input.height);
        for (let column = 0; column < width; column++, i++) {
          const left = column * stride - padding, right = Math.min(left + kernel, input.width);
          let winner = -1;
          for (let y = Math.max(top, 0); y < bottom; y++) {
            for (let x = Math.max(left, 0); x < right; x++) {
              const pixel = (c * input.height + y) * input.width + x;
              if (winner < 0 || input.values[pixel] > input.values[winner]) winner = pixel;
            }
          }
          out.values[i] = winner;
        }
      }
    }
    return out;
  }

  class Network {
    // layers: [{name, kind, ...}] in order: conv has inputs (channels * kernel * kernel), outputs, kernel, stride and
    // padding, linear inputs and outputs, maxpool kernel, stride and padding. weights: one Float32Array with each
    // layer's weights (outputs, inputs), then its bias. mean, deviation: of the pictures it was trained on.
    constructor(layers, weights, mean, deviation) {
      let used = 0;
      const take = count => weights.subarray(used, (used += count));
      this.layers = layers.map(layer => (
        layer.outputs ? { ...layer, weights: take(layer.outputs * layer.inputs), bias: take(layer.outputs) } : layer));
      if (used !== weights.length) throw new Error(`the layers take ${used} weights, got ${weights.length}`);
      this.mean = mean;
      this.deviation = deviation;
    }

    // Every layer's map by its name, from "input", the normalised picture, to the last, whose values are the logits.
    forward(picture) {
      let map = { ...picture, values: picture.values.map(v => (v - this.mean) / this.deviation) };
      const maps = { input: map };
      for (const layer of this.layers) map = maps[layer.name] = kinds[layer.kind].forward(layer, map);
      return maps;
    }

    logits(picture) {
      return this.forward(picture)[this.layers[this.layers.length - 1].name].values;
    }

    // The slope of a score with respect to the picture: maps from forward(), and the score's slope in each logit.
    backward(maps, slope) {
      for (let i = this.layers.length - 1; i >= 0; i--) {
        const layer = this.layers[i];
        const input = maps[i > 0 ? this.layers[i - 1].name : "input"];
        slope = kinds[layer.kind].backward(layer, slope, input, maps[layer.name]);
      }
      return slope.map(g => g / this.deviation);
    }
  }

  live.Network = Network;
})();
