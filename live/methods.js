// What the page asks a network: probabilities, gradients (chapter 5), occlusion (chapter 5), attacks (chapter 7), and the
// minimisation of an energy (chapters 6 to 9). What takes several steps is a generator, so that its caller can breathe.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  function softmax(logits) {
    const largest = logits.reduce((a, b) => Math.max(a, b));
    const powers = Array.from(logits, z => Math.exp(z - largest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map(p => p / sum);
  }

  function winner(values) {
    let best = 0;
    for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
    return best;
  }

  // ---------------------------------------------------------------- occlusion

  function covered(picture, { top, left, bottom, right }, fill) {
    const values = picture.values.slice();
    for (let y = top; y < bottom; y++) {
      const row = y * picture.width;
      values.fill(fill, (row + left) * picture.channels, (row + right) * picture.channels);
    }
    return { ...picture, values };
  }

  // One position of the patch after the other: where it lies, how far the logit of `label` falls there, which class
  // wins, and how many positions there are.
  function* occlusion(network, picture, label, { patch = 16, stride = 8, fill = 0.5 } = {}) {
    const maps = network.forward(picture), clean = maps[network.last].values[label];
    const change = new live.Change(network, maps);
    // The last patch of a row or column hangs over the border, if need be, and is cut there.
    const starts = side => Array.from({ length: Math.ceil((side - patch) / stride) + 1 }, (_, i) => i * stride);
    const tops = starts(picture.height), lefts = starts(picture.width);
    for (const top of tops) {
      for (const left of lefts) {
        const bottom = Math.min(top + patch, picture.height), right = Math.min(left + patch, picture.width);
        const box = { top, left, bottom, right };
        const logits = change.logits(covered(picture, box, fill), box);
        yield { box, fall: clean - logits[label], winner: winner(logits), count: tops.length * lefts.length };
      }
    }
  }

  // The occlusion map, height x width: at each pixel the mean fall over the positions so far that covered it.
  function spread(steps, { height, width }) {
    const heat = new Float32Array(height * width), times = new Float32Array(height * width);
    for (const { box, fall } of steps) {
      for (let y = box.top; y < box.bottom; y++) {
        for (let x = box.left; x < box.right; x++) {
          heat[y * width + x] += fall;
          times[y * width + x] += 1;
        }
      }
    }
    return heat.map((sum, i) => sum / Math.max(times[i], 1));
  }

  // ---------------------------------------------------------------- gradients and attacks

  // How the logit of `label` changes with each colour value; rule: "gradient", "guided" or "deconvnet".
  function logitSlope(network, picture, label, rule = "gradient") {
    const maps = network.forward(picture), slope = new Float32Array(maps[network.last].values.length);
    slope[label] = 1;
    const found = network.backward(maps, slope, { rule });
    network.forget(maps);
    return found;
  }

  // The slope of the cross-entropy of `label` in each logit.
  function crossEntropy(logits, label) {
    const probabilities = softmax(logits), largest = logits.reduce((a, b) => Math.max(a, b));
    const sum = logits.reduce((total, z) => total + Math.exp(z - largest), 0);
    return {
      value: largest + Math.log(sum) - logits[label],
      // One minus p is lost where p is nearly 1; the others' sum is not.
      slope: Float32Array.from(probabilities, (p, k) => (
        k === label ? -probabilities.reduce((total, q, j) => (j === label ? total : total + q), 0) : p)),
    };
  }

  // How the cross-entropy of `label` changes with each colour value of the picture that gave these maps.
  function crossEntropySlope(network, maps, label) {
    return network.backward(maps, crossEntropy(maps[network.last].values, label).slope);
  }

  // Plus or minus one for each value, the same in every browser.
  function randomSigns(count, seed = 0) {
    const next = random(seed);
    return Float32Array.from({ length: count }, () => (next() >= 0.5 ? 1 : -1));
  }

  // Numbers in [0, 1), the same in every browser: a linear congruential generator, the constants of Numerical Recipes.
  function random(seed) {
    let state = seed >>> 0;
    return () => {
      state = (Math.imul(1664525, state) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
  }

  // clip(x + epsilon sign(direction)): FGSM where the direction is the slope of the cross-entropy.
  function signStep(picture, direction, epsilon) {
    const values = picture.values.map((v, i) => Math.min(1, Math.max(0, v + epsilon * Math.sign(direction[i]))));
    return { ...picture, values };
  }

  // The picture with each value at most epsilon from that of `centre`.
  function inBall(picture, centre, epsilon) {
    const values = picture.values.map((v, i) => (
      Math.min(centre.values[i] + epsilon, Math.max(centre.values[i] - epsilon, v))));
    return { ...picture, values };
  }

  // ---------------------------------------------------------------- an energy, and how it is minimised

  // loss(features(transform(x))) + weight * regulariser(x), as four menus and a start say:
  //   layer, channel: the features, all of a layer's channels where the channel is null;
  //   loss: "raise" (minus the channel's mean, or half the mean square of all), "code" (the squared distance to the
  //     features of `picture`, as a share of their squared length), "away" and "towards" (the cross-entropy of the
  //     class `label` of the logits, negative and positive);
  //   transform: "none" or "jitter"; regulariser: "none", "norm", "variation", or "ball": each value within epsilon;
  //   start: "picture", "noise" or "grey".
  // Yields the state before the first step, which holds the first gradient, and after each step.
  function* minimise(network, settings) {
    const { picture, steps, transform, regulariser, weight = 1, epsilon = 0, rate = 0.02, rule = "gradient" } = settings;
    const ball = regulariser === "ball", next = random(settings.seed || 0);
    const target = settings.loss === "code" ? network.forward(picture, settings.layer)[settings.layer] : null;
    let x = initial(picture, settings.start, next);
    const adam = { mean: new Float32Array(x.values.length), square: new Float32Array(x.values.length) };
    for (let step = 0; step <= steps; step++) {
      const reach = transform === "jitter" ? Math.round(x.width / 16) : 0;
      const [down, right] = [0, 0].map(() => Math.round((2 * next() - 1) * reach));
      const maps = network.forward(rolled(x, down, right), settings.layer);
      const { value, slope } = losses[settings.loss](maps[settings.layer], { ...settings, target });
      // A guided ReLU asks for the sign of a slope: that of what is raised, where the energy is its negative.
      const sign = rule !== "gradient" && ["raise", "away"].includes(settings.loss) ? -1 : 1;
      const found = network.backward(maps, slope.map(v => sign * v), { layer: settings.layer, rule }).map(v => sign * v);
      network.forget(maps);
      const gradient = rolled({ ...x, values: found }, -down, -right).values;
      const penalty = (regularisers[regulariser] || regularisers.none)(x);
      if (penalty.slope) for (let i = 0; i < gradient.length; i++) gradient[i] += weight * penalty.slope[i];
      yield { step, steps, picture: x, loss: value, penalty: weight * penalty.value, gradient: step ? null : gradient };
      const negative = gradient.map(g => -g);
      x = ball
        ? inBall(signStep(x, negative, steps === 1 ? epsilon : 2.5 * epsilon / steps), picture, epsilon)
        : adamStep(x, gradient, adam, step + 1, rate);
    }
  }

  function initial(picture, start, next) {
    if (start === "picture") return picture;
    // Six uniform numbers added are nearly normal; the deviation is 0.05.
    const noise = () => 0.05 * Math.SQRT2 * (Array.from({ length: 6 }, next).reduce((a, b) => a + b) - 3);
    return { ...picture, values: picture.values.map(() => 0.5 + (start === "noise" ? noise() : 0)) };
  }

  // Moved down and to the right; what leaves the picture comes back on the other side.
  function rolled(picture, down, right) {
    if (!down && !right) return picture;
    const { values, height, width, channels } = picture, out = new Float32Array(values.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const from = (y * width + x) * channels;
        const to = ((y + down + height) % height * width + (x + right + width) % width) * channels;
        for (let c = 0; c < channels; c++) out[to + c] = values[from + c];
      }
    }
    return { ...picture, values: out };
  }

  // Kingma and Ba 2015, with their defaults; the values stay in [0, 1].
  function adamStep(picture, gradient, { mean, square }, step, rate) {
    const values = picture.values.slice();
    for (let i = 0; i < values.length; i++) {
      const g = gradient[i];
      mean[i] += 0.1 * (g - mean[i]);
      square[i] += 0.001 * (g * g - square[i]);
      const length = Math.sqrt(square[i] / (1 - 0.999 ** step)) + 1e-8;
      values[i] = Math.min(1, Math.max(0, values[i] - rate * (mean[i] / (1 - 0.9 ** step)) / length));
    }
    return { ...picture, values };
  }

  // The loss of a map, and its slope in each of the map's numbers.
  const losses = {
    raise({ values, height, width, channels }, { channel }) {
      const slope = new Float32Array(values.length);
      let value = 0;
      if (channel === null) {
        for (let i = 0; i < values.length; i++) {
          value -= values[i] * values[i] / 2 / values.length;
          slope[i] = -values[i] / values.length;
        }
      } else {
        const share = 1 / (height * width);
        for (let i = channel; i < values.length; i += channels) {
          value -= values[i] * share;
          slope[i] = -share;
        }
      }
      return { value, slope };
    },
    code({ values, channels }, { target, channel }) {
      const slope = new Float32Array(values.length), [first, step] = channel === null ? [0, 1] : [channel, channels];
      let value = 0, length = 1e-12;
      for (let i = first; i < values.length; i += step) {
        value += (values[i] - target.values[i]) ** 2;
        length += target.values[i] ** 2;
      }
      for (let i = first; i < values.length; i += step) slope[i] = 2 * (values[i] - target.values[i]) / length;
      return { value: value / length, slope };
    },
    towards: ({ values }, { label }) => crossEntropy(values, label),
    away(map, settings) {
      const { value, slope } = crossEntropy(map.values, settings.label);
      return { value: -value, slope: slope.map(g => -g) };
    },
  };

  const regularisers = {
    none: () => ({ value: 0, slope: null }),
    // The mean of (x - 1/2)^2
    norm({ values }) {
      let value = 0;
      const slope = values.map(v => { value += (v - 0.5) ** 2; return 2 * (v - 0.5) / values.length; });
      return { value: value / values.length, slope };
    },
    // The mean of the squared differences to the pixel below and to the one on the right
    variation({ values, height, width, channels }) {
      const slope = new Float32Array(values.length), share = 1 / values.length;
      let value = 0;
      for (let y = 0, i = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          for (let c = 0; c < channels; c++, i++) {
            for (const next of [x + 1 < width ? i + channels : i, y + 1 < height ? i + width * channels : i]) {
              const difference = values[next] - values[i];
              value += difference * difference * share;
              slope[next] += 2 * difference * share;
              slope[i] -= 2 * difference * share;
            }
          }
        }
      }
      return { value, slope };
    },
  };

  // ---------------------------------------------------------------- why a unit responds

  // A unit's value as a sum: bias + one term for each channel of its input, the channel's window times the kernel that
  // the unit has for it; where a block adds its own input, that is one number more. Layers that pass on one number (a
  // ReLU, a maximum) are walked through to the layer that sums.
  //   value: of the unit; sum: what its last convolution gives, the bias included; path: the layers walked through;
  //   from: the layer that the channels belong to; terms: {channel, top, left, height, width, window, kernel, sum},
  //   the largest first, by size.
  function explain(network, maps, name, channel, row, column) {
    const at = (map, y, x, c) => map.values[(y * map.width + x) * map.channels + c];
    const value = at(maps[name], row, column, channel), path = [];
    let layer = network.layers.find(other => other.name === name), skip = null;
    for (;; layer = network.layers.find(other => other.name === layer.input)) {
      const { kind } = layer;
      if (["conv", "depthwise", "linear", "mean"].includes(kind)) break;
      path.push(kind);
      if (kind === "add") skip = { from: layer.other, value: at(maps[layer.other], row, column, channel) };
      if (kind === "maxpool") [row, column] = winningPixel(layer, maps[layer.input], row, column, channel);
    }
    const input = maps[layer.input], { inputs = 0, weights, bias } = layer, depthwise = layer.kind === "depthwise";
    const all = !layer.kernel; // linear layers and means see every position
    const [before] = all ? [0] : [layer.padding].flat(), step = all ? 0 : layer.stride;
    const [height, width] = all ? [input.height, input.width] : [layer.kernel, layer.kernel];
    const [top, left] = all ? [0, 0] : [row * step - before, column * step - before];
    const weight = (tap, c) => {
      if (layer.kind === "mean") return 1 / (height * width);
      return depthwise ? weights[tap * input.channels + c] : weights[channel * inputs + tap * input.channels + c];
    };
    const term = c => {
      const window = new Float32Array(height * width), kernel = new Float32Array(height * width);
      let sum = 0;
      for (let tap = 0; tap < window.length; tap++) {
        const y = top + Math.floor(tap / width), x = left + tap % width;
        window[tap] = y >= 0 && x >= 0 && y < input.height && x < input.width ? at(input, y, x, c) : 0;
        kernel[tap] = weight(tap, c);
        sum += window[tap] * kernel[tap];
      }
      return { channel: c, top, left, height, width, window, kernel, sum };
    };
    const one = depthwise || layer.kind === "mean"; // each channel for itself
    const terms = one ? [term(channel)] : Array.from({ length: input.channels }, (_, c) => term(c));
    terms.sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const own = bias ? bias[channel] : 0;
    const sum = terms.reduce((total, other) => total + other.sum, own);
    return { value, path, layer: layer.name, from: layer.input, bias: own, skip, sum, terms };
  }

  // The position of the largest number in a window, the first among equals.
  function winningPixel({ kernel, stride, padding }, map, row, column, channel) {
    let best = null, largest = -Infinity;
    for (let y = row * stride - padding; y < row * stride - padding + kernel; y++) {
      for (let x = column * stride - padding; x < column * stride - padding + kernel; x++) {
        if (y < 0 || x < 0 || y >= map.height || x >= map.width) continue;
        const value = map.values[(y * map.width + x) * map.channels + channel];
        if (value > largest) [best, largest] = [[y, x], value];
      }
    }
    return best;
  }

  Object.assign(live, {
    explain, softmax, winner, covered, occlusion, spread, logitSlope, crossEntropySlope, randomSigns, signStep, minimise,
  });
})();
