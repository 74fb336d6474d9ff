// The live page: CourseNet in the reader's browser. It replaces the recorded version once the weights have come.

"use strict";

(() => {
  const { bytes } = live;
  const SIDE = 96, ZOOM = 3;
  const stillPictures = matchMedia("(prefers-reduced-motion: reduce)");

  const MARKUP = `
    <p class="live-status" role="status" data-status></p>
    <h3>The picture</h3>
    <div class="live-row">
      <div class="live-canvas">
        <canvas width="96" height="96" role="img" data-picture></canvas>
        <span class="live-cursor" hidden data-cursor></span>
      </div>
      <table class="live-scores" data-scores></table>
    </div>
    <div role="group" aria-label="Drawn scenes" class="live-scenes" data-scenes></div>
    <fieldset class="live-tools">
      <legend>Draw on it</legend>
      <div class="live-swatches" role="radiogroup" aria-label="Brush" data-swatches></div>
      <label><span>Size <span data-size-text>4</span></span>
        <input type="range" min="1" max="12" value="4" aria-label="Size of the brush" data-size></label>
      <button type="button" data-fill>Fill with this colour</button>
      <button type="button" data-undo disabled>Undo</button>
      <p class="live-note" data-hint></p>
    </fieldset>
    <p class="live-upload"><label>
      Or take a picture of your own. It stays on this machine, and shrinks to 96 × 96 pixels.
      <input type="file" accept="image/*" data-upload></label></p>

    <h3>What each layer sees</h3>
    <div class="live-controls">
      <label>Layer <select data-layer></select></label>
      <label><input type="checkbox" data-apart> each map on its own scale</label>
    </div>
    <div class="live-maps">
      <div class="live-grid" role="radiogroup" data-grid></div>
      <figure class="live-large">
        <canvas width="288" height="288" role="img" data-large></canvas>
        <div class="live-legend" data-map-legend></div>
        <figcaption data-map-text></figcaption>
      </figure>
    </div>

    <h3>Cover it and see</h3>
    <div class="live-controls">
      <button type="button" data-walk>Walk a grey patch over the picture</button>
      <progress hidden data-walked aria-label="positions of the patch"></progress>
    </div>
    <div class="live-row">
      <figure>
        <canvas width="96" height="96" role="img" aria-label="The picture, partly covered" data-covered></canvas>
        <figcaption>What the network gets</figcaption>
      </figure>
      <figure>
        <canvas width="96" height="96" role="img" data-heat></canvas>
        <div class="live-legend" data-heat-legend></div>
        <figcaption>How far the score falls, on average, with the pixel covered; below zero it rises</figcaption>
      </figure>
    </div>
    <p role="status" data-heat-text></p>

    <h3>Push every pixel a little</h3>
    <div class="live-controls">
      <label><span>ε = <span data-epsilon-text>0</span>/255</span>
        <input type="range" min="0" max="16" value="0" aria-label="ε, the largest change of a value" data-epsilon>
      </label>
      <span role="radiogroup" aria-label="Direction of the push">
        <label><input type="radio" name="live-direction" value="gradient" checked> along the gradient's sign</label>
        <label><input type="radio" name="live-direction" value="random"> along random signs</label>
      </span>
    </div>
    <div class="live-row">
      <figure>
        <canvas width="96" height="96" role="img" data-pushed></canvas>
        <figcaption>What the network gets</figcaption>
      </figure>
      <figure>
        <canvas width="96" height="96" role="img" data-change></canvas>
        <figcaption>Ten times the change</figcaption>
      </figure>
      <table class="live-scores" data-pushed-scores></table>
    </div>
    <p role="status" data-pushed-text></p>`;

  // ---------------------------------------------------------------- pictures on canvases

  function asPicture(rgb) { // (3, 96, 96) bytes
    return { values: Float32Array.from(rgb, v => v / 255), channels: 3, height: SIDE, width: SIDE };
  }

  // A colour is one number, as an ImageData holds it.
  function packed(r, g, b) {
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  }

  // Paints height x width pixels; colour(i) is the packed colour of pixel i.
  function paint(canvas, height, width, colour) {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = colour(i);
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function showPicture(canvas, { values }) {
    const places = SIDE * SIDE;
    paint(canvas, SIDE, SIDE, i => (
      packed(255 * values[i] + 0.5, 255 * values[i + places] + 0.5, 255 * values[i + 2 * places] + 0.5)));
  }

  // A ramp is 256 packed colours; a scale goes through it from low to high.
  function rampOf(rgb) {
    return Uint32Array.from({ length: 256 }, (_, i) => packed(...rgb.subarray(3 * i, 3 * i + 3)));
  }

  function colourOf({ low, high, ramp }) {
    const steps = 255 / (high - low || 1);
    return value => ramp[Math.round(Math.min(255, Math.max(0, (value - low) * steps)))];
  }

  // What can be negative is shown around zero; the rest from zero upwards.
  function scaleOf(values, signed) {
    let top = 0;
    for (const v of values) top = Math.max(top, Math.abs(v));
    return signed ? { low: -top, high: top, ramp: ramps.signed } : { low: 0, high: top, ramp: ramps.above };
  }

  function showLegend(element, scale) {
    const stops = Array.from({ length: 17 }, (_, i) => {
      const colour = scale.ramp[Math.round(i * 255 / 16)];
      return `rgb(${colour & 255},${colour >> 8 & 255},${colour >> 16 & 255})`;
    });
    element.innerHTML = `<span>${number(scale.low)}</span><i style="background:linear-gradient(90deg,${stops})"></i>`
      + `<span>${number(scale.high)}</span>`;
  }

  function number(value, digits = 1) {
    return value.toFixed(digits).replace("-", "\u2212");
  }

  function percent(p) {
    return `${(100 * p).toFixed(1)}\u00a0%`;
  }

  function where(y, x) { // in words, for a place in the picture
    const row = ["upper", "middle", "lower"][Math.min(2, Math.floor(3 * y / SIDE))];
    const column = ["left", "middle", "right"][Math.min(2, Math.floor(3 * x / SIDE))];
    if (row === "middle" && column === "middle") return "in the middle";
    return `at the ${row} ${column}`.replace("upper middle", "top").replace("lower middle", "bottom")
      .replace("middle ", "");
  }

  // ---------------------------------------------------------------- the page

  const root = document.getElementById("live");
  let part; // name -> element with that data attribute
  let network, ramps, lastLayer;
  const state = {
    picture: null, // what the network is asked about
    truth: null, // its class, where that is known
    scene: null, // its number among the scenes, until it is drawn on
    maps: null, // every layer's map for it
    layer: "relu3",
    channel: null, // null: the strongest
    slope: null, // of the cross-entropy, once it has been asked for
    walk: 0, // the number of the latest walk of the patch; an earlier one gives up
    brush: null, // a colour
    undo: [],
  };

  function logits(maps) {
    return maps[lastLayer].values;
  }

  function answer(scores) {
    const best = live.winner(scores);
    return { best, name: live.facts.classes[best], probability: live.softmax(scores)[best] };
  }

  // Does the work at the next frame, once, however often it is asked for until then.
  function soon(work) {
    let asked = false;
    return () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; work(); });
    };
  }

  // Says it when things have come to rest, so that a listener hears one answer, not fifty.
  const speaking = new Map(); // element -> its timer
  function say(element, text) {
    clearTimeout(speaking.get(element));
    speaking.set(element, setTimeout(() => { element.textContent = text; }, 250));
  }

  function take(picture, { truth = null, scene = null } = {}) {
    Object.assign(state, { picture, truth, scene });
    update();
  }

  function update() {
    showPicture(part.picture, state.picture);
    state.maps = network.forward(state.picture);
    state.slope = null;
    showAnswer();
    showMaps();
    forgetWalk();
    showPush();
  }

  const updateSoon = soon(update);

  // ---------------------------------------------------------------- the answer

  // One row a class: name, bar, probability, logit. before: the probabilities to mark on the bars.
  function showScores(table, scores, before = null) {
    const { classes } = live.facts, probabilities = live.softmax(scores), best = live.winner(scores);
    if (!table.tBodies.length) {
      const head = ["class", "probability", "logit"].map(name => `<th scope="col">${name}</th>`).join("");
      const rows = classes.map(name => `<tr><th scope="row">${name}</th>
        <td class="live-bar" aria-hidden="true"><span></span><i></i></td><td></td><td></td></tr>`);
      table.innerHTML = `<thead><tr>${head.replace("</th>", "</th><td></td>")}</tr></thead>
        <tbody>${rows.join("")}</tbody>`;
    }
    [...table.tBodies[0].rows].forEach((row, k) => {
      row.classList.toggle("live-winner", k === best);
      const [bar, mark] = row.cells[1].children;
      bar.style.width = `${100 * probabilities[k]}%`;
      mark.hidden = !before;
      if (before) mark.style.left = `${100 * before[k]}%`;
      row.cells[2].textContent = percent(probabilities[k]);
      row.cells[3].textContent = number(scores[k]);
    });
  }

  function showAnswer() {
    const scores = logits(state.maps), { name, probability } = answer(scores);
    showScores(part.scores, scores);
    const truth = state.truth === null ? "" : ` The truth: ${live.facts.classes[state.truth]}.`;
    say(part.status, `The network says ${name}, ${percent(probability)}.${truth}`);
    part.picture.setAttribute("aria-label", pictureLabel());
    part.scenes.querySelectorAll("button").forEach((button, i) => {
      button.setAttribute("aria-pressed", i === state.scene);
    });
  }

  function pictureLabel() {
    const what = state.truth === null ? "A picture" : `A drawn scene: ${live.facts.classes[state.truth]}`;
    return `${what}, 96 by 96 pixels.` + (state.brush ? " Arrow keys move the brush, the space bar paints." : "");
  }

  // ---------------------------------------------------------------- scenes, brush, upload

  function buildScenes() {
    const { scenes, classes } = live.facts;
    scenes.forEach(({ label, said, pixels }, i) => {
      const picture = asPicture(bytes(pixels));
      const button = document.createElement("button");
      button.type = "button";
      button.innerHTML = `<canvas aria-hidden="true"></canvas>${classes[label]}`
        + (said === label ? "" : `<small> taken for a ${classes[said]}</small>`);
      showPicture(button.firstChild, picture);
      button.addEventListener("click", () => {
        remember();
        take(picture, { truth: label, scene: i });
      });
      part.scenes.append(button);
    });
  }

  function buildBrush() {
    const choices = [{ name: "no brush" }, ...live.facts.colours];
    part.swatches.innerHTML = choices.map(({ name, rgb }, i) => `<label title="${name}">
      <input type="radio" name="live-brush" value="${i - 1}" ${i ? "" : "checked"}>
      <span ${rgb ? `style="background:rgb(${rgb})"` : ""}></span>
      <span class="live-hidden">${name}</span></label>`).join("");
    part.swatches.addEventListener("change", event => {
      state.brush = live.facts.colours[event.target.value] || null;
      showBrush();
    });
    part.size.addEventListener("input", () => { part.sizeText.textContent = part.size.value; });
    part.fill.addEventListener("click", () => {
      remember();
      const { rgb } = state.brush;
      take(asPicture(Uint8Array.from({ length: 3 * SIDE * SIDE }, (_, i) => rgb[Math.floor(i / SIDE / SIDE)])));
    });
    part.undo.addEventListener("click", () => {
      const { picture, truth, scene } = state.undo.pop();
      part.undo.disabled = !state.undo.length;
      take(picture, { truth, scene });
    });
    drawByPointer(part.picture);
    drawByKeys(part.picture);
    showBrush();
  }

  function showBrush() {
    const { brush } = state;
    part.hint.textContent = brush ? `Brush: ${brush.name}. Draw on the picture.`
      : "Choose a colour, then draw on the picture.";
    part.fill.disabled = !brush;
    part.picture.classList.toggle("live-drawable", Boolean(brush)); // else a finger scrolls
    part.picture.setAttribute("role", brush ? "application" : "img");
    part.picture.tabIndex = brush ? 0 : -1;
    part.picture.setAttribute("aria-label", pictureLabel());
  }

  function remember() {
    state.undo = [...state.undo.slice(-19), { picture: state.picture, truth: state.truth, scene: state.scene }];
    part.undo.disabled = false;
  }

  // Paints a line with round ends and a soft edge; the truth is no longer known then.
  function stroke([x0, y0], [x1, y1]) {
    const radius = Number(part.size.value), { rgb } = state.brush;
    const values = state.picture.values.slice();
    const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const px = x + 0.5 - x0, py = y + 0.5 - y0;
        const t = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(px - t * dx, py - t * dy)));
        if (cover) rgb.forEach((v, c) => {
          const i = (c * SIDE + y) * SIDE + x;
          values[i] += cover * (v / 255 - values[i]);
        });
      }
    }
    Object.assign(state, { picture: { ...state.picture, values }, truth: null, scene: null });
    showPicture(part.picture, state.picture);
    updateSoon();
  }

  function drawByPointer(canvas) {
    let last = null;
    const place = event => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
    };
    canvas.addEventListener("pointerdown", event => {
      if (!state.brush || event.button) return;
      canvas.setPointerCapture(event.pointerId);
      remember();
      last = place(event);
      stroke(last, last);
    });
    canvas.addEventListener("pointermove", event => {
      if (!last) return;
      const next = place(event);
      stroke(last, next);
      last = next;
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
  }

  function drawByKeys(canvas) {
    const steps = { ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, -2], ArrowDown: [0, 2] };
    let at = [SIDE / 2, SIDE / 2];
    const showCursor = () => {
      const size = 100 * 2 * Number(part.size.value) / SIDE;
      Object.assign(part.cursor.style, {
        left: `${100 * at[0] / SIDE}%`, top: `${100 * at[1] / SIDE}%`, width: `${size}%`, height: `${size}%`,
      });
    };
    canvas.addEventListener("keydown", event => {
      if (!state.brush) return;
      if (event.key in steps) {
        at = at.map((v, i) => Math.min(SIDE, Math.max(0, v + steps[event.key][i])));
        part.cursor.hidden = false;
        showCursor();
      } else if (event.key === " " || event.key === "Enter") {
        remember();
        stroke(at, at);
      } else return;
      event.preventDefault();
      event.stopPropagation(); // the theme turns pages with the arrow keys
    });
    canvas.addEventListener("blur", () => { part.cursor.hidden = true; });
  }

  async function upload(file) {
    if (!file) return;
    let image;
    try {
      image = await createImageBitmap(file);
    } catch {
      say(part.status, `${file.name} is not a picture that this browser can read.`);
      return;
    }
    // The middle square. Halved until it is nearly small enough, because one large step would skip pixels.
    let side = Math.min(image.width, image.height);
    let source = image, left = (image.width - side) / 2, top = (image.height - side) / 2;
    while (side > SIDE) {
      const next = Math.max(SIDE, Math.ceil(side / 2));
      [source, left, top, side] = [shrunk(source, left, top, side, next), 0, 0, next];
    }
    const small = side === SIDE && source !== image ? source : shrunk(source, left, top, side, SIDE);
    const { data } = small.getContext("2d").getImageData(0, 0, SIDE, SIDE);
    remember();
    take(asPicture(Uint8Array.from({ length: 3 * SIDE * SIDE }, (_, i) => (
      data[4 * (i % (SIDE * SIDE)) + Math.floor(i / SIDE / SIDE)]))));
  }

  function shrunk(source, left, top, side, next) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: next, height: next });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white"; // behind what is transparent
    context.fillRect(0, 0, next, next);
    context.imageSmoothingQuality = "high";
    context.drawImage(source, left, top, side, side, 0, 0, next, next);
    return canvas;
  }

  // ---------------------------------------------------------------- the layers

  function layerOf(name) {
    return network.layers.find(layer => layer.name === name);
  }

  function buildLayers() {
    for (const { name } of network.layers) {
      const { channels, height, width } = state.maps[name];
      const what = height === 1 ? `${channels} numbers` : `${channels} maps, ${height} × ${width}`;
      part.layer.add(new Option(`${name} (${what})`, name, false, name === state.layer));
    }
    part.layer.addEventListener("change", () => {
      Object.assign(state, { layer: part.layer.value, channel: null });
      showMaps();
    });
    part.apart.addEventListener("change", showMaps);
    const move = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    part.grid.addEventListener("click", event => {
      const button = event.target.closest("button");
      if (button) choose([...part.grid.children].indexOf(button));
    });
    part.grid.addEventListener("keydown", event => {
      if (!(event.key in move)) return;
      event.preventDefault();
      event.stopPropagation();
      const count = part.grid.children.length;
      choose((shownChannel() + move[event.key] + count) % count);
      part.grid.children[state.channel].focus();
    });
  }

  function choose(channel) {
    state.channel = channel;
    showChoice();
  }

  function channelValues({ values, height, width }, channel) {
    return values.subarray(channel * height * width, (channel + 1) * height * width);
  }

  function shownChannel() {
    if (state.channel !== null) return state.channel;
    const map = state.maps[state.layer];
    let best = 0;
    map.values.forEach((v, i) => { if (v > map.values[best]) best = i; });
    return Math.floor(best / (map.height * map.width));
  }

  function isSigned(name) {
    return ["conv", "linear"].includes(layerOf(name).kind);
  }

  function showMaps() {
    const map = state.maps[state.layer], { grid } = part;
    grid.setAttribute("aria-label", `Channels of ${state.layer}`);
    grid.classList.toggle("live-small", map.height === 1);
    while (grid.children.length > map.channels) grid.lastChild.remove();
    while (grid.children.length < map.channels) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("role", "radio");
      button.append(document.createElement("canvas"));
      grid.append(button);
    }
    const shared = scaleOf(map.values, isSigned(state.layer));
    [...grid.children].forEach((button, channel) => {
      const values = channelValues(map, channel);
      const colour = colourOf(part.apart.checked ? scaleOf(values, isSigned(state.layer)) : shared);
      paint(button.firstChild, map.height, map.width, i => colour(values[i]));
      const name = state.layer === lastLayer ? live.facts.classes[channel] : `channel ${channel}`;
      button.setAttribute("aria-label", `${name}, largest value ${number(Math.max(...values))}`);
      button.title = name;
    });
    showChoice();
  }

  // The chosen channel over the picture, with the box that its strongest unit sees.
  function showChoice() {
    const channel = shownChannel(), map = state.maps[state.layer];
    [...part.grid.children].forEach((button, i) => {
      button.setAttribute("aria-checked", i === channel);
      button.tabIndex = i === channel ? 0 : -1;
    });
    const values = channelValues(map, channel), signed = isSigned(state.layer);
    const scale = scaleOf(part.apart.checked ? values : map.values, signed), colour = colourOf(scale);
    const { field } = layerOf(state.layer), { width } = map;
    // A unit looks at the pixels around place * step: the nearest unit colours a pixel.
    const nearest = pixel => (field.step ? Math.min(width - 1, Math.round(pixel / field.step)) : 0);
    const small = document.createElement("canvas");
    const [red, green, blue] = [0, 1, 2].map(c => channelValues(state.picture, c));
    paint(small, SIDE, SIDE, i => {
      const grey = 255 * (0.3 * red[i] + 0.59 * green[i] + 0.11 * blue[i]);
      if (map.height === 1) return packed(grey, grey, grey);
      const tint = colour(values[nearest(Math.floor(i / SIDE)) * width + nearest(i % SIDE)]);
      return packed(...[tint & 255, tint >> 8 & 255, tint >> 16 & 255].map(v => (v + grey) / 2));
    });
    const context = part.large.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, ZOOM * SIDE, ZOOM * SIDE);
    let best = 0;
    values.forEach((v, i) => { if (v > values[best]) best = i; });
    const row = Math.floor(best / width), column = best % width;
    outline(context, field, row, column);
    showLegend(part.mapLegend, scale);
    const name = state.layer === lastLayer ? live.facts.classes[channel] : `channel ${channel}`;
    const positive = values.reduce((count, v) => count + (v > 0), 0) / values.length;
    const text = map.height === 1
      ? `${state.layer}, ${name}: ${number(values[0], 2)}. It has no spatial positions: it sees the whole image.`
      : `${state.layer}, ${name}: largest value ${number(values[best], 2)}, `
        + `${where(row * field.step, column * field.step)}; above zero at ${Math.round(100 * positive)}\u00a0% of its `
        + `${map.height} × ${width} positions. The box is what the strongest unit can see, `
        + `${field.size} × ${field.size} pixels.`;
    part.mapText.textContent = text;
    part.large.setAttribute("aria-label", `The map of ${name} over the picture`);
  }

  function outline(context, { size, step, start }, row, column) {
    const edge = (place, side) => Math.min(SIDE, Math.max(0, start + place * step + side));
    const [left, right] = step ? [edge(column, 0), edge(column, size)] : [0, SIDE];
    const [top, bottom] = step ? [edge(row, 0), edge(row, size)] : [0, SIDE];
    for (const [colour, thickness] of [["#000", 5], ["#fff", 2]]) { // seen on light and on dark
      Object.assign(context, { strokeStyle: colour, lineWidth: thickness });
      context.strokeRect(ZOOM * left + 2.5, ZOOM * top + 2.5, ZOOM * (right - left) - 5, ZOOM * (bottom - top) - 5);
    }
  }

  // ---------------------------------------------------------------- occlusion

  function forgetWalk() {
    state.walk += 1;
    showPicture(part.covered, state.picture);
    paint(part.heat, SIDE, SIDE, () => ramps.signed[128]);
    part.heat.setAttribute("aria-label", "The occlusion map, still empty");
    part.heatLegend.textContent = part.heatText.textContent = "";
    part.walked.hidden = true;
    part.walk.textContent = "Walk a grey patch over the picture";
  }

  async function walk() {
    if (!part.walked.hidden) { // a second press stops it
      forgetWalk();
      return;
    }
    forgetWalk();
    const mine = state.walk, { picture } = state, { best } = answer(logits(state.maps));
    const steps = [];
    Object.assign(part.walked, { hidden: false, value: 0 });
    part.walk.textContent = "Stop";
    for (const step of live.occlusion(network, picture, best)) {
      steps.push(step);
      Object.assign(part.walked, { max: step.count, value: steps.length });
      if (!stillPictures.matches) {
        showPicture(part.covered, live.covered(picture, step.box, 0.5));
        showHeat(steps);
      }
      await new Promise(resolve => setTimeout(resolve)); // let the page answer its reader
      if (mine !== state.walk) return;
    }
    part.walked.hidden = true;
    part.walk.textContent = "Walk a grey patch over the picture";
    showPicture(part.covered, picture);
    showHeat(steps);
    tellWalk(steps, best);
  }

  function showHeat(steps) {
    const heat = live.spread(steps, state.picture), scale = scaleOf(heat, true), colour = colourOf(scale);
    paint(part.heat, SIDE, SIDE, i => colour(heat[i]));
    showLegend(part.heatLegend, scale);
    return heat;
  }

  function tellWalk(steps, best) {
    const name = live.facts.classes[best];
    const worst = steps.reduce((a, b) => (b.fall > a.fall ? b : a));
    const lifted = steps.reduce((a, b) => (b.fall < a.fall ? b : a));
    const place = ({ box }) => where((box.top + box.bottom) / 2, (box.left + box.right) / 2);
    const others = steps.filter(step => step.winner !== best);
    const text = `The logit of ${name} falls most, by ${number(worst.fall)}, with the patch ${place(worst)}`
      + (lifted.fall < 0 ? `, and rises most, by ${number(-lifted.fall)}, with the patch ${place(lifted)}. ` : ". ")
      + `At ${others.length} of ${steps.length} positions the network predicts another class.`;
    part.heatText.textContent = text;
    part.heat.setAttribute("aria-label", `The occlusion map, red where covering lowers the score of ${name}.`);
  }

  // ---------------------------------------------------------------- the push

  function showPush() {
    const step = Number(part.epsilon.value), scores = logits(state.maps), before = answer(scores);
    const random = root.querySelector("[name=live-direction]:checked").value === "random";
    part.epsilonText.textContent = step;
    part.epsilon.setAttribute("aria-valuetext", `${step} of 255`);
    let pushed = state.picture, after = scores;
    if (step) {
      if (!random && !state.slope) state.slope = live.crossEntropySlope(network, state.maps, before.best);
      const direction = random ? live.randomSigns(state.picture.values.length) : state.slope;
      pushed = live.signStep(state.picture, direction, step / 255);
      after = network.logits(pushed);
    }
    const change = pushed.values.map((v, i) => Math.min(1, Math.max(0, 0.5 + 10 * (v - state.picture.values[i]))));
    showPicture(part.pushed, pushed);
    showPicture(part.change, { values: change });
    showScores(part.pushedScores, after, live.softmax(scores));
    const now = answer(after);
    const how = random ? "along random signs" : `against ${before.name}`;
    part.pushed.setAttribute("aria-label", step ? `The picture, pushed by ${step} of 255` : "The picture, unchanged");
    part.change.setAttribute("aria-label", step ? "Ten times the change, around mid grey" : "No change: mid grey");
    say(part.pushedText, step
      ? `Every value moved by at most ${step}/255 ${how}: the network says ${now.name}, ${percent(now.probability)}`
        + (now.best === before.best ? ", as before." : `; it said ${before.name}, ${percent(before.probability)}.`)
      : "Nothing is changed yet. The mark on each bar is the probability before the push.");
  }

  // ---------------------------------------------------------------- start

  function camel(name) {
    return name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
  }

  function build() {
    ramps = { above: rampOf(bytes(live.facts.ramps.above)), signed: rampOf(bytes(live.facts.ramps.signed)) };
    lastLayer = network.layers[network.layers.length - 1].name;
    const app = document.createElement("div");
    app.className = "live-app";
    app.innerHTML = MARKUP;
    part = {};
    for (const element of app.querySelectorAll("*")) {
      for (const { name } of element.attributes) if (name.startsWith("data-")) part[camel(name.slice(5))] = element;
    }
    root.append(app);
    const first = live.facts.scenes.findIndex(({ label }) => live.facts.classes[label] === "star");
    const { label, pixels } = live.facts.scenes[first];
    Object.assign(state, { picture: asPicture(bytes(pixels)), truth: label, scene: first });
    state.maps = network.forward(state.picture);
    buildScenes();
    buildBrush();
    buildLayers();
    part.upload.addEventListener("change", () => upload(part.upload.files[0]));
    part.walk.addEventListener("click", walk);
    const showPushSoon = soon(showPush);
    part.epsilon.addEventListener("input", showPushSoon);
    root.querySelectorAll("[name=live-direction]").forEach(radio => radio.addEventListener("change", showPushSoon));
    update();
    root.classList.add("live-ready"); // hides the recorded version, except on paper
  }

  async function start() {
    const note = document.createElement("p");
    note.className = "live-loading";
    note.setAttribute("role", "status");
    note.innerHTML = `Loading the network, 6.6 MB <progress aria-label="loading the network"></progress>`;
    root.prepend(note);
    const bar = note.querySelector("progress");
    try {
      network = await live.load((done, all) => Object.assign(bar, { max: all, value: done }));
      build();
      note.remove();
    } catch (error) {
      note.textContent = `The network could not be loaded (${error.message}). The recorded version stands below.`;
      throw error;
    }
  }

  start();
})();
