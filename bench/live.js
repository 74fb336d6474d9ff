// Times the live page's engines beside ONNX Runtime Web, in Node: node live.js SCRIPTS MODULES ROUNDS
//
// SCRIPTS is the folder that tools/live.py fills, MODULES one in which onnxruntime-web is installed. Prints, as JSON,
// network -> what -> milliseconds of each round. Every round runs everything once, beginning with another one.

"use strict";

const fs = require("fs");
const path = require("path");
const vm = require("vm");

const [scripts, modules, rounds] = process.argv.slice(2);
const ort = require(require.resolve("onnxruntime-web", { paths: [modules] }));
globalThis.live = {};
const run = name => vm.runInThisContext(fs.readFileSync(path.join(scripts, name), "utf8"));

// ---------------------------------------------------------------- a network as an ONNX model

const varint = n => (n < 128 ? [n] : [n % 128 + 128, ...varint(Math.floor(n / 128))]);
const field = (number, bytes) => Buffer.concat([
  Buffer.from([...varint(8 * number + 2), ...varint(bytes.length)]), Buffer.from(bytes)]);
const whole = (number, value) => Buffer.from([...varint(8 * number), ...varint(value)]);
const message = (...fields) => Buffer.concat(fields.flat());

function tensor(name, dims, values) {
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  return message(dims.map(d => whole(1, d)), whole(2, 1), field(8, name), field(9, bytes));
}

function node(operator, inputs, output, attributes = {}) {
  return message(
    inputs.map(name => field(1, name)), field(2, output), field(4, operator),
    Object.entries(attributes).map(([name, value]) => field(5, Array.isArray(value)
      ? message(field(1, name), value.map(v => whole(8, v)), whole(20, 7))
      : message(field(1, name), whole(3, value), whole(20, 2)))));
}

function declared(name, dims) {
  const shape = message(dims.map(d => field(1, whole(1, d))));
  return message(field(1, name), field(2, field(1, message(whole(1, 1), field(2, shape)))));
}

// Filters (outputs, taps, channels) in the order of ONNX, (outputs, channels, taps).
function channelsFirst(weights, outputs, taps, channels) {
  const out = new Float32Array(weights.length);
  for (let o = 0; o < outputs; o++) {
    for (let t = 0; t < taps; t++) {
      for (let c = 0; c < channels; c++) out[(o * channels + c) * taps + t] = weights[(o * taps + t) * channels + c];
    }
  }
  return out;
}

function model(network, maps) {
  const nodes = [], tensors = [];
  const keep = (name, dims, values) => { tensors.push(tensor(name, dims, values)); return name; };
  for (const layer of network.layers) {
    const { name, kind, input, kernel, stride, padding, weights, bias } = layer, map = maps[input];
    const [before, after] = [padding, padding].flat().slice(0, 2);
    const window = { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [before, before, after, after] };
    const own = bias && [`${name}.weight`, keep(`${name}.bias`, [bias.length], bias)];
    if (kind === "conv") {
      keep(own[0], [layer.outputs, map.channels, kernel, kernel],
        channelsFirst(weights, layer.outputs, kernel * kernel, map.channels));
      nodes.push(node("Conv", [input, ...own], name, window));
    } else if (kind === "depthwise") { // its filters are (taps, channels)
      keep(own[0], [map.channels, 1, kernel, kernel], channelsFirst(weights, 1, kernel * kernel, map.channels));
      nodes.push(node("Conv", [input, ...own], name, { ...window, group: map.channels }));
    } else if (kind === "linear") {
      const places = map.height * map.width;
      keep(own[0], [layer.outputs, layer.inputs], channelsFirst(weights, layer.outputs, places, map.channels));
      nodes.push(node("Flatten", [input], `${name}.flat`));
      nodes.push(node("Gemm", [`${name}.flat`, ...own], name, { transB: 1 }));
    } else if (kind === "relu" && layer.top) {
      const limits = [["low", 0], ["high", layer.top]].map(
        ([end, value]) => keep(`${name}.${end}`, [], Float32Array.of(value)));
      nodes.push(node("Clip", [input, ...limits], name));
    } else {
      const operators = { relu: "Relu", maxpool: "MaxPool", mean: "GlobalAveragePool", add: "Add" };
      nodes.push(node(operators[kind], kind === "add" ? [input, layer.other] : [input], name,
        kind === "maxpool" ? window : {}));
    }
  }
  const { height, width, channels } = maps.input, logits = maps[network.last].channels;
  const graph = message(
    nodes.map(n => field(1, n)), field(2, "network"), tensors.map(t => field(5, t)),
    field(11, declared("input", [1, channels, height, width])), field(12, declared(network.last, [1, logits])));
  return message(whole(1, 8), field(7, graph), field(8, message(whole(2, 13))));
}

// ---------------------------------------------------------------- the rounds

function opened(name) {
  const facts = live.facts.networks[name], parts = [];
  live.arrived = (network, i, text) => { parts[i] = Buffer.from(text, "base64"); };
  facts.parts.forEach((_, i) => run(`${name}-${i}.js`));
  const { buffer } = Uint8Array.from(Buffer.concat(parts));
  return new live.Network(facts.layers, live.weightsOf(facts, buffer), facts.mean, facts.deviation);
}

async function timed(name, engines) {
  const { side } = live.facts.networks[name], signs = live.randomSigns(3 * side * side);
  const picture = { values: signs.map(s => 0.5 + s / 4), height: side, width: side, channels: 3 };
  const network = opened(name);
  const maps = network.forward(picture), { values } = maps.input;
  const session = await ort.InferenceSession.create(model(network, maps), { executionProviders: ["wasm"] });
  const first = channelsFirst(values, 1, side * side, 3);
  const theirs = async () => (await session.run({ input: new ort.Tensor("float32", first, [1, 3, side, side]) }));
  const logits = (await theirs())[network.last].data, ours = maps[network.last].values;
  const error = Math.max(...ours.map((v, i) => Math.abs(v - logits[i])));
  if (!(error < 1e-3)) throw new Error(`${name}: the logits differ from ONNX Runtime's by ${error}`);
  const runs = { "ONNX Runtime Web, forward": theirs };
  for (const engine of engines) {
    const own = opened(name); // an engine keeps its own copies of the filters
    runs[`${engine.name}, forward`] = () => { live.engine = engine; own.logits(picture); };
    runs[`${engine.name}, forward and backward`] = () => { live.engine = engine; live.logitSlope(own, picture, 0); };
  }
  const names = Object.keys(runs), found = Object.fromEntries(names.map(what => [what, []]));
  for (const what of names) await runs[what](); // the first run makes what later ones find
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const what = names[(round + i) % names.length], start = performance.now();
      await runs[what]();
      found[what].push(performance.now() - start);
    }
  }
  return found;
}

async function main() {
  ort.env.wasm.numThreads = 1;
  for (const name of ["engine.js", "facts.js"]) run(name);
  const found = {}, engines = [live.loops, live.engine]; // before the runs change which one is in use
  for (const name of Object.keys(live.facts.networks)) found[name] = await timed(name, engines);
  console.log(JSON.stringify(found));
}

main();
