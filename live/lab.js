// One energy, live: four menus, a start and a number of steps make most techniques of the book, and the page names the
// one that a reader hits upon.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  const MARKUP = `
    <h3>One energy</h3>
    <p class="live-formula" data-formula></p>
    <p role="status" data-name></p>
    <div class="live-controls">
      <label>Begin with <select data-technique></select></label>
      <button type="button" data-run>Run</button>
      <button type="button" disabled data-pause>Pause</button>
      <button type="button" disabled data-one>One step</button>
      <button type="button" disabled data-stop>Stop</button>
      <progress hidden data-progress aria-label="steps"></progress>
    </div>
    <div class="live-menus">
      <fieldset><legend>Features</legend>
        <label>Layer <select data-lab-layer></select></label>
        <label data-channel-label><span data-channel-name>Channel</span>
          <input type="text" autocomplete="off" list="live-classes" data-channel></label>
        <datalist id="live-classes" data-classes></datalist>
      </fieldset>
      <fieldset><legend>Loss</legend>
        <label>Wanted <select data-loss>
          <option value="raise">a strong response</option>
          <option value="code">the code of this picture</option>
          <option value="away">not the class it has</option>
          <option value="towards">another class</option>
        </select></label>
        <label><input type="checkbox" data-guided> guided ReLUs</label>
      </fieldset>
      <fieldset><legend>Transform</legend>
        <label>Before each step <select data-transform>
          <option value="none">none</option>
          <option value="jitter">jitter</option>
        </select></label>
      </fieldset>
      <fieldset><legend>Regulariser</legend>
        <label>Keep <select data-regulariser>
          <option value="none">nothing</option>
          <option value="norm">the norm small</option>
          <option value="variation">the picture smooth</option>
          <option value="ball">within ε of this picture</option>
        </select></label>
        <label data-weight-label>Weight <select data-weight>
          <option>1</option><option>10</option><option selected>100</option><option>1000</option><option>10000</option>
        </select></label>
        <label data-radius-label>ε <select data-radius>
          <option value="1">1/255</option><option value="2">2/255</option><option value="4" selected>4/255</option>
          <option value="8">8/255</option><option value="16">16/255</option>
        </select></label>
      </fieldset>
      <fieldset><legend>Start and steps</legend>
        <label>From <select data-start>
          <option value="picture">this picture</option>
          <option value="noise">noise</option>
          <option value="grey">grey</option>
        </select></label>
        <label>Steps <select data-steps>
          <option value="0">none: the gradient</option><option>1</option><option>10</option><option>50</option>
          <option>200</option>
        </select></label>
      </fieldset>
    </div>
    <div class="live-controls">
      <button type="button" disabled data-save>Save the picture</button>
      <button type="button" disabled data-keep>Take it as the picture</button>
    </div>
    <div class="live-row">
      <figure data-gradient-figure hidden>
        <canvas width="96" height="96" role="img" data-gradient></canvas>
        <div class="live-legend" data-gradient-legend></div>
        <figcaption>The first gradient: how much the energy changes with each pixel.</figcaption>
      </figure>
      <figure data-curve-figure hidden>
        <canvas class="live-smooth" width="400" height="300" role="img" data-curve></canvas>
        <figcaption data-curve-text></figcaption>
      </figure>
    </div>
    <p role="status" data-lab-text></p>`;

  // A technique's menus, and its chapter. "logits" is the last layer, "middle" one where textures are found.
  const ASCENT = { loss: "raise", transform: "jitter", regulariser: "variation", start: "noise", steps: 50 };
  const ATTACK = { page: "07_adversarial", layer: "logits", regulariser: "ball" };
  const MAP = { page: "05_which_pixels_matter", layer: "logits", loss: "raise", steps: 0 };
  const TECHNIQUES = [
    { ...MAP, name: "the saliency map" },
    { ...MAP, name: "guided backpropagation", guided: true },
    { ...ATTACK, name: "the fast gradient sign method", loss: "away", steps: 1 },
    { ...ATTACK, name: "projected gradient descent", loss: "away", steps: 10 },
    { ...ATTACK, name: "a targeted attack", loss: "towards", steps: 10 },
    { ...ATTACK, name: "a fooling image", regulariser: "none", loss: "towards", start: "noise", steps: 50 },
    { ...ASCENT, name: "gradient ascent on a class", page: "06_gradient_ascent", layer: "logits", weight: 1000 },
    { ...ASCENT, name: "gradient ascent on a channel", page: "06_gradient_ascent", layer: "middle" },
    {
      name: "DeepDream", page: "08_deepdream", layer: "middle", loss: "raise", channel: "all", transform: "jitter",
      steps: 10,
    },
    {
      name: "inversion", page: "09_inversion", layer: "middle", loss: "code", regulariser: "variation", weight: 10,
      start: "noise", steps: 200,
    },
  ];
  const MIDDLE = { coursenet: "relu3", lite0: "block5" };

  let page, part; // what page.js lends; name -> element
  let job = null, paused = false, result = null, energies = [];
  let chosen = false; // whether the class or channel is the reader's choice

  const lastLayer = () => page.facts().layers.at(-1).name;

  // ---------------------------------------------------------------- what the menus say

  function settings() {
    const value = name => part[name].value, { best } = page.answer(page.state.logits);
    const layer = value("labLayer"), loss = value("loss"), output = layer === lastLayer();
    const channel = loss === "code" ? null : channelOf(value("channel"), output);
    return {
      picture: page.state.picture, layer, loss, channel, label: loss === "away" ? best : channel,
      rule: part.guided.checked ? "guided" : "gradient", transform: value("transform"),
      regulariser: value("regulariser"), weight: Number(value("weight")), epsilon: Number(value("radius")) / 255,
      start: value("start"), steps: Number(value("steps")),
    };
  }

  // The number of a class or channel; null for all of them; undefined for what is neither.
  function channelOf(text, output) {
    const wanted = text.trim().toLowerCase(), { classes } = page.facts();
    if (output) {
      const found = classes.findIndex(name => name.toLowerCase() === wanted);
      return found < 0 ? undefined : found;
    }
    if (wanted === "all") return null;
    const number = Number(wanted);
    return wanted && Number.isInteger(number) && number >= 0 && number < channels() ? number : undefined;
  }

  function channels() {
    const name = part.labLayer.value, { layers } = page.facts();
    for (let i = layers.findIndex(layer => layer.name === name); i >= 0; i--) {
      const found = layers[i].outputs || layers[i].channels;
      if (found) return found;
    }
    return 3;
  }

  function formula({ layer, loss, channel, label, rule, transform, regulariser, weight, epsilon, start, steps }) {
    const output = layer === lastLayer(), x = transform === "jitter" ? "τ(x)" : "x";
    const named = k => `<i>${page.facts().classes[k]}</i>`;
    const features = `φ<sub>${layer}${channel === null || output ? "" : `, ${channel}`}</sub>`;
    const data = {
      raise: () => (output ? `− z<sub>${named(channel)}</sub>(${x})`
        : channel === null ? `− ½ mean ${features}(${x})²` : `− mean ${features}(${x})`),
      code: () => `‖${features}(${x}) − ${features}(x₀)‖² / ‖${features}(x₀)‖²`,
      away: () => `− J(${x}, ${named(label)})`,
      towards: () => `J(${x}, ${named(label)})`,
    }[loss]();
    const penalty = {
      none: "", norm: ` + ${weight} mean (x − ½)²`, variation: ` + ${weight} mean (∂x)²`, ball: "",
    }[regulariser];
    const bound = regulariser === "ball" ? `, |x − x₀| ≤ ${Math.round(255 * epsilon)}/255` : "";
    const from = { picture: "x₀", noise: "noise", grey: "grey" }[start];
    const guided = rule === "guided" ? ", through guided ReLUs" : "";
    if (!steps) return `∂/∂x [ ${data}${penalty} ] at ${from}${guided}`;
    return `x* = argmin<sub>x</sub> ${data}${penalty}${bound}, from ${from}, ${inSteps(steps)}${guided}`;
  }

  const inSteps = steps => `${steps} step${steps > 1 ? "s" : ""}`;

  // The technique that the menus are, if it has a name.
  function technique({ layer, loss, channel, rule, regulariser, start, steps }) {
    const output = layer === lastLayer(), still = start === "picture", ball = regulariser === "ball";
    const named = name => TECHNIQUES.find(other => other.name === name);
    if (!steps && loss === "raise" && output && still) {
      return named(rule === "guided" ? "guided backpropagation" : "the saliency map");
    }
    if (!steps) return null;
    if (ball && still && loss === "away") {
      return named(steps === 1 ? "the fast gradient sign method" : "projected gradient descent");
    }
    if (ball && still && loss === "towards") return named("a targeted attack");
    if (ball) return null;
    if (loss === "towards") return still ? null : named("a fooling image");
    if (loss === "raise" && still && !output) return named("DeepDream");
    if (loss === "raise" && !still && output) return named("gradient ascent on a class");
    if (loss === "raise" && !still && channel !== null) return named("gradient ascent on a channel");
    if (loss === "code" && !still) return named("inversion");
    return null;
  }

  // What does not go together is said, instead of a formula.
  function trouble({ loss, channel, regulariser, start, layer }) {
    if (channel === undefined) {
      return layer === lastLayer() ? `There is no class “${part.channel.value}”. Begin to type, and choose.`
        : `Give a channel from 0 to ${channels() - 1}, or “all”.`;
    }
    if (loss === "code" && start === "picture") return "This picture has its own code already. Begin from noise or grey.";
    if (regulariser === "ball" && start !== "picture") return "Within ε of this picture one must begin at this picture.";
    return "";
  }

  function show() {
    if (!page.state.logits) return; // not before the network has seen its first picture
    const now = settings(), wrong = trouble(now), output = now.layer === lastLayer();
    part.channelLabel.hidden = ["code", "away"].includes(now.loss);
    part.channelName.textContent = output ? "Class" : "Channel";
    part.weightLabel.hidden = !["norm", "variation"].includes(now.regulariser);
    part.radiusLabel.hidden = now.regulariser !== "ball";
    part.run.disabled = Boolean(wrong);
    part.channel.setAttribute("aria-invalid", now.channel === undefined);
    if (wrong) {
      part.formula.textContent = wrong;
      part.name.textContent = "";
      return;
    }
    part.formula.innerHTML = formula(now);
    const found = technique(now);
    part.name.innerHTML = found ? `This is <a href="${found.page}.html">${found.name}</a>.`
      : "This has no name in the book.";
    part.technique.value = found ? found.name : "";
  }

  // ---------------------------------------------------------------- menus that fill each other

  function fillLayers() {
    const shown = page.facts().layers.filter(layer => layer.shown);
    part.labLayer.textContent = "";
    for (const { name } of shown) part.labLayer.add(new Option(name === lastLayer() ? `${name} (logits)` : name, name));
    part.classes.innerHTML = "";
    part.classes.append(...page.facts().classes.map(name => new Option("", name)));
  }

  function fillChannel(wanted = "") {
    if (!page.state.logits) return;
    chosen = false;
    const output = part.labLayer.value === lastLayer(), { classes } = page.facts();
    const { best } = page.answer(page.state.logits);
    // Towards the class it already has there is nowhere to go.
    const other = part.loss.value === "towards" ? (best + 1) % classes.length : best;
    part.channel.value = wanted || (output ? classes[other] : "0");
    if (output) part.channel.setAttribute("list", "live-classes");
    else part.channel.removeAttribute("list");
  }

  function choose(name) {
    const found = TECHNIQUES.find(other => other.name === name);
    if (!found) return;
    const layers = { logits: lastLayer(), middle: MIDDLE[page.state.network] };
    part.labLayer.value = layers[found.layer];
    part.loss.value = found.loss;
    part.transform.value = found.transform || "none";
    part.regulariser.value = found.regulariser || "none";
    part.weight.value = String(found.weight || 100);
    part.start.value = found.start || "picture";
    part.steps.value = String(found.steps);
    part.guided.checked = Boolean(found.guided);
    fillChannel(found.channel);
    show();
  }

  // ---------------------------------------------------------------- running

  function buttons() {
    const running = job !== null;
    part.run.textContent = running ? "Restart" : "Run";
    part.pause.disabled = part.stop.disabled = !running;
    part.pause.textContent = paused ? "Go on" : "Pause";
    part.one.disabled = !paused;
    part.save.disabled = part.keep.disabled = !result;
    part.progress.hidden = !running;
  }

  function stop() {
    if (job) job.cancel();
    job = null;
    paused = false;
    buttons();
  }

  async function run() {
    stop();
    const now = settings(), found = technique(now);
    const what = found ? found.name[0].toUpperCase() + found.name.slice(1) : "The energy's picture";
    energies = [];
    result = null;
    part.labText.textContent = "";
    let drawn = 0;
    const mine = page.ask("minimise", now, state => {
      if (mine !== job) return;
      energies.push(state.loss + state.penalty);
      if (state.gradient) showGradient(state.gradient, now.picture);
      Object.assign(part.progress, { max: Math.max(1, state.steps), value: state.step });
      result = state.steps ? state.picture : null;
      if (performance.now() - drawn < 80 && state.step < state.steps && !paused) return;
      drawn = performance.now();
      if (state.steps && (!page.still() || paused)) page.showOnStage(state.picture);
      showCurve(now, state);
    });
    job = mine;
    buttons();
    try {
      const done = await mine.result;
      if (mine !== job || !done) return;
      if (now.steps) page.present(done.picture, done.logits, what);
      const [before, after] = [energies[0], energies.at(-1)].map(number);
      page.say(part.labText, now.steps
        ? `${what}: energy ${before} at the start, ${after} after ${inSteps(now.steps)}.`
        : `The gradient of ${page.facts().name}, at the initial image.`);
    } catch (error) {
      page.say(part.labText, `It could not be computed: ${error.message}.`);
    }
    if (mine !== job) return;
    job = null;
    paused = false;
    buttons();
  }

  const number = value => live.number(value, Math.abs(value) < 0.1 ? 4 : 2);

  function showGradient(gradient, { height, width }) {
    const heat = new Float32Array(height * width);
    for (let i = 0; i < gradient.length; i++) {
      const at = Math.floor(i / 3);
      heat[at] = Math.max(heat[at], Math.abs(gradient[i]));
    }
    const scale = live.scaleOf(heat, false), colour = live.colourOf(scale), at = live.winner(heat);
    part.gradientFigure.hidden = false;
    live.paint(part.gradient, height, width, i => colour(heat[i]));
    live.showLegend(part.gradientLegend, scale, 4);
    part.gradient.setAttribute("aria-label", "The first gradient, largest "
      + `${live.where(Math.floor(at / width) / height, at % width / width)}.`);
  }

  function showCurve({ steps }, { step, loss, penalty }) {
    part.curveFigure.hidden = !steps;
    if (!steps) return;
    const { curve } = part, context = curve.getContext("2d"), { width, height } = curve;
    const style = getComputedStyle(curve), low = Math.min(...energies), high = Math.max(...energies), margin = 12;
    context.clearRect(0, 0, width, height);
    Object.assign(context, { strokeStyle: style.color, lineWidth: 1, globalAlpha: 0.4 });
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    const accent = style.accentColor === "auto" ? style.color : style.accentColor;
    Object.assign(context, { strokeStyle: accent, lineWidth: 4, globalAlpha: 1 });
    context.beginPath();
    energies.forEach((energy, i) => {
      const x = margin + (width - 2 * margin) * i / steps;
      const y = margin + (height - 2 * margin) * (high - energy) / (high - low || 1);
      if (i) context.lineTo(x, y); else context.moveTo(x, y);
    });
    context.stroke();
    part.curveText.textContent = `The energy, from ${number(energies[0])} to ${number(energies.at(-1))} at step ${step} `
      + `of ${steps}: loss ${number(loss)}, regulariser ${number(penalty)}.`;
    curve.setAttribute("aria-label", part.curveText.textContent);
  }

  function save() {
    const canvas = document.createElement("canvas");
    live.showPicture(canvas, result);
    canvas.toBlob(blob => {
      const link = document.createElement("a");
      Object.assign(link, { href: URL.createObjectURL(blob), download: `${part.technique.value || "energy"}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }, "image/png");
  }

  function build(element, lent) {
    page = lent;
    element.innerHTML = MARKUP;
    part = live.parts(element);
    part.technique.append(new Option("choose a technique", ""), ...TECHNIQUES.map(({ name }) => new Option(name, name)));
    part.technique.addEventListener("change", () => choose(part.technique.value));
    // The classes are those of the logits.
    const ofClasses = () => ["away", "towards"].includes(part.loss.value);
    part.loss.addEventListener("change", () => {
      if (ofClasses()) part.labLayer.value = lastLayer();
      fillChannel();
    });
    part.labLayer.addEventListener("change", () => {
      if (part.labLayer.value !== lastLayer() && ofClasses()) part.loss.value = "raise";
      fillChannel();
    });
    for (const name of ["labLayer", "loss", "transform", "regulariser", "weight", "radius", "start", "steps", "guided"]) {
      part[name].addEventListener("change", show);
    }
    part.channel.addEventListener("input", () => {
      chosen = true;
      show();
    });
    part.run.addEventListener("click", run);
    part.stop.addEventListener("click", stop);
    part.pause.addEventListener("click", () => {
      paused = !paused;
      if (paused) job.pause(); else job.resume();
      buttons();
    });
    part.one.addEventListener("click", () => job.step());
    part.save.addEventListener("click", save);
    part.keep.addEventListener("click", () => {
      const picture = result;
      stop();
      page.remember();
      page.take(picture);
    });
  }

  // Another network.
  function changed() {
    stop();
    result = null;
    fillLayers();
    part.channel.value = "";
    part.gradientFigure.hidden = part.curveFigure.hidden = true;
    part.labText.textContent = "";
    buttons();
  }

  // Another picture: its class is the one in question, unless the reader has chosen.
  function looked() {
    if (job) stop();
    if (!part.channel.value) choose(part.technique.value || "the saliency map");
    if (!chosen) fillChannel(part.labLayer.value === lastLayer() ? "" : part.channel.value);
    show();
  }

  live.lab = { build, changed, looked };
})();
