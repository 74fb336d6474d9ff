// The shipped network, from scripts beside this one: a page that is opened as a file may load scripts, but not data.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  const here = document.currentScript.src.replace(/[^/]*$/, "");

  function script(name) {
    return new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = here + name;
      element.onload = () => { element.remove(); resolve(); };
      element.onerror = () => reject(new Error(`${name} is missing`));
      document.head.append(element);
    });
  }

  function bytes(base64) {
    const text = atob(base64), found = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
    return found;
  }

  // live.facts, and the network with its weights; report(done, all) hears of the parts as they come.
  async function load(report) {
    await script("facts.js");
    const { parts, layers, mean, deviation } = live.facts;
    live.weights = []; // filled by weights-0.js, weights-1.js, ...
    for (let i = 0; i < parts; i++) {
      report(i, parts);
      await script(`weights-${i}.js`);
    }
    const pieces = live.weights.map(text => new Float32Array(bytes(text).buffer));
    delete live.weights;
    const weights = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let used = 0;
    for (const piece of pieces) {
      weights.set(piece, used);
      used += piece.length;
    }
    return new live.Network(layers, weights, mean, deviation);
  }

  Object.assign(live, { bytes, load });
})();
