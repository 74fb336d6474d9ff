// What the page asks the network: probabilities, occlusion (chapter 5) and the fast gradient sign method (chapter 7).

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  function softmax(logits) {
    const largest = Math.max(...logits);
    const powers = Array.from(logits, z => Math.exp(z - largest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map(p => p / sum);
  }

  function winner(logits) {
    return logits.indexOf(Math.max(...logits));
  }

  function covered(picture, { top, left, bottom, right }, fill) {
    const values = picture.values.slice();
    for (let c = 0; c < picture.channels; c++) {
      for (let y = top; y < bottom; y++) {
        const row = (c * picture.height + y) * picture.width;
        values.fill(fill, row + left, row + right);
      }
    }
    return { ...picture, values };
  }

  // One position of the patch after the other: where it lies, how far the logit of `label` falls there, which class
  // wins, and how many positions there are. A generator, so that the page can breathe between two of them.
  function* occlusion(network, picture, label, { patch = 16, stride = 8, fill = 0.5 } = {}) {
    const clean = network.logits(picture)[label];
    // The last patch of a row or column hangs over the border, if need be, and is cut there.
    const starts = side => Array.from({ length: Math.ceil((side - patch) / stride) + 1 }, (_, i) => i * stride);
    const tops = starts(picture.height), lefts = starts(picture.width);
    for (const top of tops) {
      for (const left of lefts) {
        const bottom = Math.min(top + patch, picture.height), right = Math.min(left + patch, picture.width);
        const box = { top, left, bottom, right };
        const logits = network.logits(covered(picture, box, fill));
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

  // How the cross-entropy of `label` changes with each colour value of the picture that gave these maps.
  function crossEntropySlope(network, maps, label) {
    const logits = maps[network.layers[network.layers.length - 1].name].values;
    const slope = Float32Array.from(softmax(logits), (p, k) => p - (k === label ? 1 : 0));
    return network.backward(maps, slope);
  }

  // Plus or minus one for each value, the same in every browser.
  function randomSigns(count, seed = 0) {
    let state = seed >>> 0;
    return Float32Array.from({ length: count }, () => {
      state = (Math.imul(1664525, state) + 1013904223) >>> 0; // the constants of Numerical Recipes
      return state >>> 31 ? 1 : -1;
    });
  }

  // clip(x + epsilon sign(direction)): FGSM where the direction is the slope of the cross-entropy.
  function signStep(picture, direction, epsilon) {
    const values = picture.values.map((v, i) => Math.min(1, Math.max(0, v + epsilon * Math.sign(direction[i]))));
    return { ...picture, values };
  }

  Object.assign(live, { softmax, winner, covered, occlusion, spread, crossEntropySlope, randomSigns, signStep });
})();
