// The networks at work, one job after another a step at a time: in a worker, or in the page where there is none.
//
// live.serve(send) gives a function that takes messages: {job, task, settings} begins a job, {job, command} steers it
// ("cancel", "pause", "resume", "step"). It sends {job, progress}, then {job, result}, {job, cancelled} or {job, error}.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  // From the bytes of a file to one Float32Array; `quantised` files hold 16-bit steps, as tools/live.py writes them.
  function weightsOf({ layers, quantised }, buffer) {
    if (!quantised) return new Float32Array(buffer);
    const filtered = layers.filter(({ kind }) => ["conv", "linear", "depthwise"].includes(kind));
    const sizes = filtered.map(({ outputs, inputs, channels, kernel }) => (
      outputs ? [outputs, outputs * inputs] : [channels, channels * kernel * kernel]));
    const count = sizes.reduce((sum, [, size]) => sum + size, 0);
    const whole = new Int16Array(buffer, 0, count), rest = new Float32Array(buffer.slice(2 * count));
    const weights = new Float32Array(count + rest.length / 2);
    let from = 0, to = 0, used = 0;
    filtered.forEach(({ kind, inputs }, i) => {
      const [outputs, size] = sizes[i], steps = rest.subarray(used, used + outputs);
      for (let k = 0; k < size; k++) {
        weights[to + k] = whole[from + k] * steps[kind === "depthwise" ? k % outputs : Math.floor(k / inputs)];
      }
      weights.set(rest.subarray(used + outputs, used + 2 * outputs), to + size);
      [from, to, used] = [from + size, to + size + outputs, used + 2 * outputs];
    });
    return weights;
  }

  const networks = {}; // by name
  const seen = {}; // the maps of each network's latest picture

  // task -> a generator that yields its progress and returns its result. `network` is a name.
  const tasks = {
    *open({ network, facts, bytes }) {
      networks[network] = new live.Network(facts.layers, weightsOf(facts, bytes), facts.mean, facts.deviation);
      return live.engine.name;
    },
    *look({ network, picture }) {
      if (seen[network]) networks[network].forget(seen[network]);
      seen[network] = networks[network].forward(picture);
      return seen[network][networks[network].last].values.slice(); // whose memory serves again
    },
    *map({ network, layer }) {
      const map = seen[network][layer];
      return { ...map, values: map.values.slice() };
    },
    // The `count` terms that weigh most, and what the others add up to.
    *explain({ network, layer, channel, row, column, count }) {
      const found = live.explain(networks[network], seen[network], layer, channel, row, column);
      const rest = found.terms.slice(count);
      return {
        ...found, terms: found.terms.slice(0, count),
        rest: { count: rest.length, sum: rest.reduce((total, term) => total + term.sum, 0) },
      };
    },
    *resize({ plan, data }) {
      return live.resized(plan, data);
    },
    *logits({ network, picture }) {
      return networks[network].logits(picture);
    },
    *slope({ network, picture, label, rule }) {
      return live.logitSlope(networks[network], picture, label, rule);
    },
    *occlude({ network, picture, label, patch, stride }) {
      for (const step of live.occlusion(networks[network], picture, label, { patch, stride })) yield step;
    },
    // The picture pushed by at most epsilon, in `steps` steps against `label`, towards `aim`, or along random signs.
    *push({ network, picture, label, aim = null, random, epsilon, steps }) {
      const net = networks[network];
      let pushed = picture;
      if (random) {
        pushed = live.signStep(picture, live.randomSigns(picture.values.length), epsilon);
      } else {
        const energy = {
          picture, start: "picture", layer: net.last, steps, transform: "none", regulariser: "ball", epsilon,
          loss: aim === null ? "away" : "towards", label: aim === null ? label : aim,
        };
        for (const { step, picture: now } of live.minimise(net, energy)) {
          pushed = now;
          yield { step, steps };
        }
      }
      return { picture: pushed, logits: net.logits(pushed) };
    },
    *minimise({ network, ...settings }) {
      let last;
      for (last of live.minimise(networks[network], settings)) yield last;
      return { picture: last.picture, logits: networks[network].logits(last.picture) };
    },
  };

  // Lets messages in, or the page's own events. A timer would wait for four thousandths of a second.
  function breath() {
    if (typeof document !== "undefined" || typeof MessageChannel === "undefined") return new Promise(r => setTimeout(r));
    return new Promise(resolve => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => { port1.close(); resolve(); };
      port2.postMessage(null);
    });
  }

  function serve(send) {
    const jobs = new Map(); // number -> {left: steps it may do, cancelled, wake}

    async function work(job, { task, settings }) {
      const state = { left: Infinity, cancelled: false, wake: () => {} };
      jobs.set(job, state);
      try {
        await breath(); // whoever asked knows the job's number before it hears of it
        const steps = tasks[task](settings);
        for (;;) {
          while (state.left <= 0 && !state.cancelled) await new Promise(resolve => { state.wake = resolve; });
          if (state.cancelled) return send({ job, cancelled: true });
          const { value, done } = steps.next();
          if (done) return send({ job, result: value });
          state.left -= 1;
          send({ job, progress: value });
          await breath();
        }
      } catch (error) {
        return send({ job, error: error.message });
      } finally {
        jobs.delete(job);
      }
    }

    const commands = {
      cancel: state => { state.cancelled = true; },
      pause: state => { state.left = 0; },
      resume: state => { state.left = Infinity; },
      step: state => { state.left = 1; },
    };

    return message => {
      const { job, command } = message;
      if (!command) return void work(job, message);
      const state = jobs.get(job);
      if (!state) return;
      commands[command](state);
      state.wake();
    };
  }

  Object.assign(live, { serve, weightsOf });

  if (typeof document === "undefined" && typeof postMessage === "function") {
    const receive = serve(message => postMessage(message));
    onmessage = ({ data }) => receive(data);
  }
})();
