// What comes when it is asked for: facts, pictures and weights, from scripts beside this one, because a page that is
// opened as a file may load scripts, but not data; and the worker in which the networks run.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  const here = document.currentScript.src.replace(/[^/]*$/, "");

  function script(name) {
    return new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = here + name;
      element.onload = () => { element.remove(); resolve(); };
      element.onerror = () => { element.remove(); reject(new Error(`${name.split("?")[0]} is missing`)); };
      document.head.append(element);
    });
  }

  function bytes(base64) {
    const text = atob(base64), found = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
    return found;
  }

  // ---------------------------------------------------------------- weights

  const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
    return n;
  });

  // CRC-32, as in zip files and PNG.
  function checksum(values) {
    let state = -1;
    for (const byte of values) state = TABLE[(state ^ byte) & 255] ^ state >>> 8;
    return (state ^ -1) >>> 0;
  }

  const arrivals = {}; // what a script of weights brought, until it is checked

  live.arrived = (network, part, text) => { arrivals[`${network}-${part}.js`] = text; };

  // None, where a script broke off before the end or between two bytes.
  function bytesOf(text) {
    try {
      return text === undefined ? [] : bytes(text);
    } catch {
      return [];
    }
  }

  // One script of weights, checked; asked for a second time, around the browser's store, if it is cut off or missing.
  async function part(network, i, { bytes: count, crc }, again = "") {
    const name = `${network}-${i}.js`;
    try {
      await script(name + again);
      const text = arrivals[name];
      delete arrivals[name];
      const found = bytesOf(text);
      if (found.length !== count || checksum(found) !== crc) throw new Error(`${name} is incomplete`);
      return found;
    } catch (error) {
      if (again) throw error;
      return part(network, i, { bytes: count, crc }, `?again=${Date.now()}`);
    }
  }

  const kept = {}; // network -> the parts that have come, so that a second try begins where the first one broke off

  // A network's weights as one buffer, its parts asked for at once; report(done, all) hears of the bytes as they come.
  async function weights(network, report) {
    const { parts } = live.facts.networks[network];
    const all = parts.reduce((sum, { bytes: count }) => sum + count, 0);
    const found = kept[network] = kept[network] || [];
    let done = 0;
    const tell = count => { done += count; report(done, all); };
    tell(0);
    const tries = await Promise.allSettled(parts.map(async (facts, i) => {
      found[i] = found[i] || await part(network, i, facts);
      tell(found[i].length);
    }));
    const broken = tries.find(({ status }) => status === "rejected");
    if (broken) throw broken.reason;
    const whole = new Uint8Array(all);
    found.reduce((start, numbers) => { whole.set(numbers, start); return start + numbers.length; }, 0);
    delete kept[network];
    return whole.buffer;
  }

  // ---------------------------------------------------------------- the worker

  const waiting = new Map(); // number of a job -> what to do with its messages
  let post = null, jobs = 0;

  function receive(message) {
    const job = waiting.get(message.job);
    if (!job) return;
    if ("progress" in message) return job.report(message.progress);
    waiting.delete(message.job);
    if (message.error) job.reject(new Error(message.error));
    else job.resolve(message.cancelled ? null : message.result);
  }

  // A worker made from the engine's own text; without one, the page does the work itself, between its other duties.
  function begin() {
    try {
      const address = URL.createObjectURL(new Blob([live.source], { type: "text/javascript" }));
      const worker = new Worker(address);
      worker.onmessage = ({ data }) => receive(data);
      worker.onerror = event => {
        event.preventDefault();
        for (const [number, job] of waiting) {
          waiting.delete(number);
          job.reject(new Error(event.message || "the worker stopped"));
        }
      };
      live.inWorker = true;
      return message => worker.postMessage(message);
    } catch {
      live.inWorker = false;
      return live.serve(receive);
    }
  }

  // Begins a job; its `result` is a promise, of null once it is cancelled.
  function ask(task, settings, report = () => {}) {
    post = post || begin();
    const job = jobs += 1;
    const result = new Promise((resolve, reject) => waiting.set(job, { report, resolve, reject }));
    post({ job, task, settings });
    const command = name => () => post({ job, command: name });
    return {
      result, cancel: command("cancel"), pause: command("pause"), resume: command("resume"), step: command("step"),
    };
  }

  // Opens a network in the worker; says which engine runs it.
  async function open(network, report) {
    const buffer = await weights(network, report);
    return ask("open", { network, facts: live.facts.networks[network], bytes: buffer }).result;
  }

  Object.assign(live, { script, address: name => here + name, bytes, checksum, weights, open, ask });
})();
