// The live page: networks in the reader's browser. It replaces the recorded version once the first has come.

"use strict";

(() => {
  const {
    bytes, paint, packed, showPicture, ramps, colourOf, scaleOf, showLegend, number, percent, where, winner, softmax,
  } = live;
  const WEAK = 0.25; // a best class with less is hardly an answer
  const PATCHES = { coursenet: { patch: 16, stride: 8 }, lite0: { patch: 32, stride: 16 } };
  const stillPictures = matchMedia("(prefers-reduced-motion: reduce)");

  const MARKUP = `
    <div class="live-stage" data-stage>
      <div class="live-canvas">
        <canvas width="96" height="96" role="img" data-picture></canvas>
        <span class="live-cursor" hidden data-cursor></span>
      </div>
      <div class="live-verdict">
        <p class="live-status" role="status" data-status></p>
        <table class="live-scores" data-scores></table>
        <div class="live-stage-buttons">
          <button type="button" data-draw aria-expanded="false">Draw</button>
          <button type="button" data-undo disabled>Undo</button>
          <button type="button" data-back hidden aria-label="Back to the picture">Back</button>
        </div>
      </div>
      <div class="live-tools" role="group" aria-label="Brush" hidden data-tools>
        <div class="live-swatches" role="radiogroup" aria-label="Colour of the brush" data-swatches></div>
        <label><span>Size <span data-size-text>4</span></span>
          <input type="range" min="1" max="12" value="4" aria-label="Size of the brush" data-size></label>
        <button type="button" data-fill>Fill</button>
      </div>
    </div>
    <div class="live-sections">
      <section>
        <h3>The network and the picture</h3>
        <div class="live-choice" role="radiogroup" aria-label="Network" data-networks></div>
        <p class="live-note" data-network-text></p>
        <div class="live-controls" hidden data-loading>
          <progress aria-label="loading the network" data-loaded></progress>
          <span role="status" data-loading-text></span>
          <button type="button" hidden data-retry>Try again</button>
        </div>
        <div role="group" aria-label="Pictures" class="live-scenes" tabindex="0" data-scenes></div>
        <p class="live-note" data-credit></p>
        <div class="live-controls">
          <label class="live-file">A picture of your own
            <input type="file" accept="image/*" data-upload></label>
          <button type="button" data-camera>Camera</button>
        </div>
        <p class="live-note">It stays on this machine.</p>
        <div class="live-camera" hidden data-viewfinder>
          <video playsinline muted data-video aria-label="What the camera sees"></video>
          <div class="live-controls">
            <button type="button" data-shoot>Take the picture</button>
            <button type="button" data-close>Close the camera</button>
          </div>
        </div>
        <div class="live-crop" hidden data-crop>
          <canvas width="240" height="240" tabindex="0" role="application" data-frame></canvas>
          <div class="live-controls">
            <label>Square <input type="range" min="20" max="100" value="100" aria-label="Side of the square, in percent"
              data-crop-size></label>
          </div>
          <p class="live-note">The network gets the square. Drag it, or move it with the arrow keys.</p>
        </div>
      </section>
      <section>
        <h3>What each layer sees</h3>
        <div class="live-controls">
          <label>Layer <select data-layer></select></label>
          <label><input type="checkbox" data-apart> each map on its own scale</label>
        </div>
        <div class="live-maps">
          <figure class="live-large">
            <canvas width="288" height="288" tabindex="0" role="application" data-large></canvas>
            <div class="live-legend" data-map-legend></div>
            <figcaption data-map-text></figcaption>
          </figure>
          <div class="live-grid" role="radiogroup" data-grid></div>
        </div>
        <h3>One unit</h3>
        <div data-toolbox></div>
      </section>
      <section>
        <h3>Which pixels matter</h3>
        <div class="live-controls">
          <label>Gradient <select data-rule>
            <option value="gradient">plain (saliency)</option>
            <option value="guided">guided backpropagation</option>
            <option value="deconvnet">deconvnet</option>
          </select></label>
          <button type="button" data-ask-slope>Show it</button>
          <button type="button" data-walk>Walk a grey patch</button>
          <progress hidden data-walked aria-label="positions of the patch"></progress>
        </div>
        <div class="live-row">
          <figure>
            <canvas width="96" height="96" role="img" data-slope></canvas>
            <div class="live-legend" data-slope-legend></div>
            <figcaption data-slope-text>How much the score changes with each pixel.</figcaption>
          </figure>
          <figure>
            <canvas width="96" height="96" role="img" data-heat></canvas>
            <div class="live-legend" data-heat-legend></div>
            <figcaption>How far the score falls, on average, with the pixel covered. Below zero it rises.</figcaption>
          </figure>
        </div>
        <p role="status" data-heat-text></p>
        <div class="live-controls">
          <button type="button" aria-pressed="false" data-by-hand>Cover it by hand</button>
          <span class="live-note" data-by-hand-text></span>
        </div>
      </section>
      <section>
        <h3>Push every pixel a little</h3>
        <div class="live-controls">
          <label class="live-wide"><span>ε = <span data-epsilon-text>0</span>/255</span>
            <input type="range" min="0" max="16" value="0" aria-label="ε, the largest change of a value" data-epsilon>
          </label>
          <label>How <select data-direction>
            <option value="1">one step along the gradient's sign (FGSM)</option>
            <option value="10">ten steps (PGD)</option>
            <option value="random">along random signs</option>
          </select></label>
          <progress hidden data-pushing aria-label="steps of the push"></progress>
        </div>
        <div class="live-row">
          <figure>
            <canvas width="96" height="96" role="img" data-change></canvas>
            <figcaption>Ten times the change</figcaption>
          </figure>
          <p class="live-beside" role="status" data-pushed-text></p>
        </div>
      </section>
      <section data-lab></section>
    </div>`;

  // ---------------------------------------------------------------- the page

  const root = document.getElementById("live");
  let part; // name -> element with that data attribute
  const state = {
    network: "coursenet",
    picture: null, // what the network is asked about
    truth: null, // its class, where that is known
    scene: null, // its number among those to choose from, until it is drawn on
    source: null, // a reader's own: {canvas, preview, box}
    logits: null, // of the picture
    map: null, // of the layer that is shown
    layer: {}, // by network
    channel: null, // null: the strongest
    place: null, // {row, column} of a unit on the map; null: the strongest
    walking: null, // a job
    pushing: null,
    byHand: null, // the middle of the patch, while it is led by hand
    brush: null, // a colour
    undo: [],
  };
  const opened = new Set();

  const facts = () => live.facts.networks[state.network];
  const side = () => facts().side;
  const lastLayer = () => facts().layers[facts().layers.length - 1].name;
  const ask = (task, settings, report) => live.ask(task, { network: state.network, ...settings }, report);

  function answer(logits) {
    const best = winner(logits);
    return { best, name: facts().classes[best], probability: softmax(logits)[best] };
  }

  // Does the latest of what is asked for; what comes while it is at work waits, and only the last of that is done.
  function latest(work) {
    let busy = false, again = false;
    return async function run() {
      again = true;
      if (busy) return;
      busy = true;
      try {
        while (again) {
          again = false;
          await work();
        }
      } catch (error) {
        say(part.status, `Something went wrong: ${error.message}.`);
        throw error;
      } finally {
        busy = false;
      }
    };
  }

  // Says it when things have come to rest, so that a listener hears one answer, not fifty.
  const speaking = new Map(); // element -> its timer
  function say(element, text) {
    clearTimeout(speaking.get(element));
    speaking.set(element, setTimeout(() => { element.textContent = text; }, 250));
  }

  function take(picture, { truth = null, scene = null, source = null } = {}) {
    Object.assign(state, { picture, truth, scene, source });
    root.setAttribute("aria-busy", "true");
    part.crop.hidden = !source;
    if (source) showFrame();
    showPicture(part.picture, picture);
    part.picture.setAttribute("aria-label", pictureLabel());
    return update();
  }

  const update = latest(async () => {
    const { picture, network } = state;
    forgetResults();
    const logits = await ask("look", { picture }).result;
    if (network !== state.network) return;
    Object.assign(state, { logits });
    showVerdict(logits);
    await showMaps();
    live.lab.looked();
    push();
    if (picture === state.picture) root.setAttribute("aria-busy", "false");
  });

  // ---------------------------------------------------------------- the stage: a picture and the verdict on it

  // The best classes: name, bar, probability. before: the probabilities to mark on the bars.
  function showScores(logits, before = null) {
    const { classes } = facts(), probabilities = softmax(logits), count = Math.min(classes.length, 10);
    const order = classes.length === count ? classes.map((_, i) => i)
      : Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]).slice(0, 5);
    const best = winner(logits), rank = [...order].sort((a, b) => logits[b] - logits[a]);
    part.scores.innerHTML = `<thead class="live-hidden"><tr><th scope="col">class</th><td></td>
      <th scope="col">probability</th><th scope="col">logit</th></tr></thead><tbody>${order.map(k => `
      <tr class="live-rank-${rank.indexOf(k)}${k === best ? " live-winner" : ""}"><th scope="row">${classes[k]}</th>
        <td class="live-bar" aria-hidden="true"><span style="width:${100 * probabilities[k]}%"></span>
          ${before ? `<i style="left:${100 * before[k]}%"></i>` : ""}</td>
        <td>${percent(probabilities[k])}</td><td class="live-logit">${number(logits[k])}</td></tr>`).join("")}</tbody>`;
  }

  function verdict(logits) {
    const { name, probability } = answer(logits);
    if (probability >= WEAK) return `${name}, ${percent(probability)}.`;
    return `none of its ${facts().classes.length} classes with any certainty; the best is ${name}, `
      + `${percent(probability)}.`;
  }

  function showVerdict(logits, what = null) {
    showScores(logits, what ? softmax(state.logits) : null);
    const truth = state.truth === null || what ? "" : ` The truth: ${facts().classes[state.truth]}.`;
    const own = state.source && state.network === "coursenet" && !what
      ? " It knows ten drawn shapes and has no word for anything else." : "";
    say(part.status, `${what ? `${what}: ` : "The network says "}${verdict(logits)}${truth}${own}`);
    part.back.hidden = !what;
  }

  // Shows another picture than the chosen one on the stage, and what the network says to it.
  function present(picture, logits, what) {
    showPicture(part.picture, picture);
    part.picture.setAttribute("aria-label", `${what}.`);
    showVerdict(logits, what);
  }

  function backToThePicture() {
    showPicture(part.picture, state.picture);
    part.picture.setAttribute("aria-label", pictureLabel());
    showVerdict(state.logits);
  }

  function pictureLabel() {
    const what = state.truth === null ? "A picture" : `A drawn scene: ${facts().classes[state.truth]}`;
    return `${what}, ${side()} by ${side()} pixels.`
      + (state.byHand ? " Arrow keys move the patch." : "")
      + (state.brush ? " Arrow keys move the brush, the space bar paints." : "");
  }

  // ---------------------------------------------------------------- networks

  function buildNetworks() {
    const known = Object.entries(live.facts.networks);
    const megabytes = ({ parts }) => (parts.reduce((sum, { bytes: count }) => sum + count, 0) / 1e6).toFixed(1);
    part.networks.innerHTML = known.map(([key, { name, classes }]) => `<label>
      <input type="radio" name="live-network" value="${key}" ${key === state.network ? "checked" : ""}>
      <span>${name}<small>${classes.length} classes, ${megabytes(live.facts.networks[key])} MB</small></span></label>`)
      .join("");
    if (known.length === 1) {
      part.networkText.textContent = "EfficientNet-Lite0, which knows photographs, is not part of this build of the "
        + "book: its package was not installed.";
    }
    part.networks.addEventListener("change", event => choose(event.target.value));
    part.retry.addEventListener("click", () => choose(root.querySelector("[name=live-network]:checked").value));
  }

  // Opens a network, once, with its pictures, and shows the first of them, or the reader's own.
  async function choose(network) {
    stop();
    if (!opened.has(network)) {
      Object.assign(part.loading, { hidden: false });
      part.retry.hidden = true;
      part.loaded.hidden = false;
      try {
        await load(network, (done, all) => {
          Object.assign(part.loaded, { max: all, value: done });
          part.loadingText.textContent = `${(done / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB`;
        });
      } catch (error) {
        part.loadingText.textContent = `The network could not be loaded (${error.message}).`;
        part.loaded.hidden = true;
        part.retry.hidden = false;
        return;
      }
    }
    if (root.querySelector("[name=live-network]:checked").value !== network) return; // another was chosen meanwhile
    part.loading.hidden = true;
    Object.assign(state, { network, channel: null, place: null, undo: [], logits: null });
    part.undo.disabled = true;
    buildScenes();
    buildLayers();
    live.lab.changed();
    if (state.source) await takeSquare();
    else await takeScene(network === "coursenet" ? live.scenes.findIndex(isStar) : 0);
  }

  const isStar = ({ label }) => facts().classes[label] === "star";

  async function load(network, report) {
    const pictures = network === "coursenet" ? "scenes" : "photographs";
    await Promise.all([live[pictures] || live.script(`${pictures}.js`), live.open(network, report)]);
    opened.add(network);
  }

  // ---------------------------------------------------------------- scenes and photographs

  function buildScenes() {
    const { classes } = facts();
    part.scenes.textContent = "";
    const pictures = state.network === "coursenet" ? live.scenes : live.photographs;
    pictures.forEach((picture, i) => {
      const button = document.createElement("button");
      button.type = "button";
      if (picture.address) {
        button.innerHTML = `<img src="${picture.address}" alt="" width="96" height="96">${picture.name}`;
      } else {
        const { label, said, pixels } = picture;
        button.innerHTML = `<canvas aria-hidden="true"></canvas>${classes[label]}`
          + (said === label ? "" : `<small> taken for a ${classes[said]}</small>`);
        showPicture(button.firstChild, live.asPicture(bytes(pixels), 96));
      }
      button.addEventListener("click", () => {
        remember();
        takeScene(i);
      });
      part.scenes.append(button);
    });
  }

  async function takeScene(i) {
    root.setAttribute("aria-busy", "true");
    const { label = null, pixels, address, credit = "Drawn scenes of this course." }
      = (state.network === "coursenet" ? live.scenes : live.photographs)[i];
    part.credit.textContent = credit;
    const { network } = state;
    const picture = pixels ? live.asPicture(bytes(pixels), 96)
      : await live.squareOf(live.kept(await live.element(address)), { left: 0, top: 0, side: side() }, side());
    if (network !== state.network) return;
    await take(picture, { truth: label, scene: i });
    markScene();
  }

  function markScene() {
    [...part.scenes.children].forEach((button, i) => button.setAttribute("aria-pressed", i === state.scene));
  }

  // ---------------------------------------------------------------- a reader's own picture

  async function own(reading) {
    try {
      const canvas = await reading;
      if (!canvas) return;
      remember();
      const small = Math.min(canvas.width, canvas.height);
      const box = { left: (canvas.width - small) / 2, top: (canvas.height - small) / 2, side: small };
      // Of the photographs before it the pictures are kept, for undoing, but not all their pixels.
      state.undo = state.undo.map(before => ({ ...before, source: null }));
      state.source = { canvas, preview: live.preview(canvas), box };
      part.cropSize.value = 100;
      part.credit.textContent = "";
      await takeSquare();
    } catch (error) {
      if (!(error instanceof live.Unreadable)) throw error;
      say(part.status, error.message);
    }
  }

  const takeSquare = latest(async () => {
    const { source, network } = state;
    if (!source) return; // another picture was chosen meanwhile
    root.setAttribute("aria-busy", "true");
    showFrame();
    const picture = await live.squareOf(source.canvas, source.box, side());
    if (source !== state.source || network !== state.network) return;
    take(picture, { source });
    markScene();
  });

  // The whole picture, darker outside the square.
  function showFrame() {
    const { canvas, preview, box } = state.source, { frame } = part;
    const scale = Math.min(1, 240 / Math.max(canvas.width, canvas.height)), finer = preview.width / canvas.width;
    Object.assign(frame, { width: Math.ceil(canvas.width * scale), height: Math.ceil(canvas.height * scale) });
    const context = frame.getContext("2d");
    context.drawImage(preview, 0, 0, frame.width, frame.height);
    context.fillStyle = "rgb(0 0 0 / 60%)";
    context.fillRect(0, 0, frame.width, frame.height);
    const square = factor => [box.left, box.top, box.side, box.side].map(v => v * factor);
    const [x, y, length] = square(scale);
    context.drawImage(preview, ...square(finer), ...square(scale));
    Object.assign(context, { strokeStyle: "#fff", lineWidth: 2 });
    context.strokeRect(x + 1, y + 1, length - 2, length - 2);
    frame.setAttribute("aria-label", `Your picture, ${canvas.width} by ${canvas.height} pixels. The square begins at `
      + `${Math.round(box.left)}, ${Math.round(box.top)} and has ${Math.round(box.side)} pixels a side. `
      + "Arrow keys move it.");
  }

  function moveSquare(dx, dy, length = state.source.box.side) {
    const { canvas, box } = state.source;
    const fit = (start, whole) => Math.min(whole - length, Math.max(0, start));
    const middle = (box.side - length) / 2;
    state.source.box = {
      left: fit(box.left + middle + dx, canvas.width), top: fit(box.top + middle + dy, canvas.height), side: length,
    };
    takeSquare();
  }

  function buildOwn() {
    part.upload.addEventListener("change", () => {
      const [file] = part.upload.files;
      if (file) own(live.read(file));
      part.upload.value = ""; // the same file can be taken again
    });
    part.cropSize.addEventListener("input", () => {
      const { canvas } = state.source;
      moveSquare(0, 0, Math.max(1, Math.round(Math.min(canvas.width, canvas.height) * part.cropSize.value / 100)));
    });
    onDrag(part.frame, (at, before) => {
      const { canvas } = state.source;
      moveSquare((at[0] - before[0]) * canvas.width, (at[1] - before[1]) * canvas.height);
    });
    onArrows(part.frame, (dx, dy) => moveSquare(dx * state.source.box.side / 20, dy * state.source.box.side / 20));
    let shoot = null;
    const close = taken => {
      part.viewfinder.hidden = true;
      const canvas = shoot(taken);
      part.camera.focus();
      if (canvas) own(canvas);
    };
    part.camera.addEventListener("click", async () => {
      try {
        shoot = await live.camera(part.video);
        part.viewfinder.hidden = false;
        part.shoot.focus();
      } catch (error) {
        say(part.status, error.message);
      }
    });
    part.shoot.addEventListener("click", () => close(true));
    part.close.addEventListener("click", () => close(false));
  }

  // ---------------------------------------------------------------- pointers and keys on a canvas

  // begins(event) says whether to follow the pointer; moves(at, before) gets where it is and was, both in [0, 1].
  function onDrag(canvas, moves, begins = () => true) {
    let last = null;
    const place = event => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    canvas.addEventListener("pointerdown", event => {
      if (event.button || !begins(event)) return;
      canvas.setPointerCapture(event.pointerId);
      last = place(event);
      moves(last, last);
    });
    canvas.addEventListener("pointermove", event => {
      if (!last) return;
      const next = place(event);
      moves(next, last);
      last = next;
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
  }

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function onArrows(element, moves, otherwise = () => false) {
    element.addEventListener("keydown", event => {
      if (event.key in ARROWS ? moves(...ARROWS[event.key]) === false : !otherwise(event.key)) return;
      event.preventDefault();
      event.stopPropagation(); // the theme turns pages with the arrow keys
    });
  }

  // ---------------------------------------------------------------- the brush

  function buildBrush() {
    part.swatches.innerHTML = live.facts.colours.map(({ name, rgb }, i) => `<label title="${name}">
      <input type="radio" name="live-brush" value="${i}">
      <span style="background:rgb(${rgb})"></span><span class="live-hidden">${name}</span></label>`).join("");
    part.swatches.addEventListener("change", event => {
      state.brush = live.facts.colours[event.target.value];
      showMode();
    });
    part.draw.addEventListener("click", () => {
      const drawing = part.tools.hidden;
      if (drawing && state.byHand) coverByHand(false);
      part.tools.hidden = !drawing;
      state.brush = drawing ? live.facts.colours[(root.querySelector("[name=live-brush]:checked")
        || root.querySelector("[name=live-brush]")).value] : null;
      if (drawing) part.swatches.querySelectorAll("input")[live.facts.colours.indexOf(state.brush)].checked = true;
      part.draw.setAttribute("aria-expanded", drawing);
      part.draw.textContent = drawing ? "Done" : "Draw";
      part.stage.classList.toggle("live-drawing", drawing);
      if (drawing) backToThePicture();
      showMode();
    });
    part.size.addEventListener("input", () => { part.sizeText.textContent = part.size.value; });
    part.fill.addEventListener("click", () => {
      remember();
      const { rgb } = state.brush, picture = live.asPicture(new Uint8Array(3 * side() * side()), side());
      take({ ...picture, values: picture.values.map((_, i) => rgb[i % 3] / 255) });
      markScene();
    });
    part.undo.addEventListener("click", () => {
      const { picture, ...rest } = state.undo.pop();
      part.undo.disabled = !state.undo.length;
      take(picture, rest);
      markScene();
    });
    part.back.addEventListener("click", () => {
      backToThePicture();
      if (part.back.dataset.of !== "push") return;
      part.epsilon.value = 0;
      push();
    });
    let at = [0.5, 0.5];
    const showCursor = () => {
      const width = 100 * 2 * Number(part.size.value) / 96;
      Object.assign(part.cursor.style, {
        left: `${100 * at[0]}%`, top: `${100 * at[1]}%`, width: `${width}%`, height: `${width}%`,
      });
      part.cursor.hidden = false;
    };
    onDrag(part.picture, (next, before) => {
      if (state.byHand) cover(...next);
      else stroke(before, next);
    }, () => {
      if (state.brush) remember();
      return Boolean(state.brush || state.byHand);
    });
    onArrows(part.picture, (dx, dy) => {
      if (state.byHand) return cover(state.byHand[0] + dx / 16, state.byHand[1] + dy / 16);
      if (!state.brush) return false;
      at = [at[0] + dx / 48, at[1] + dy / 48].map(v => Math.min(1, Math.max(0, v)));
      return showCursor();
    }, key => {
      if (!state.brush || !(key === " " || key === "Enter")) return false;
      remember();
      stroke(at, at);
      return true;
    });
    part.picture.addEventListener("blur", () => { part.cursor.hidden = true; });
  }

  // What the pointer and the keys do on the picture.
  function showMode() {
    const active = Boolean(state.brush || state.byHand);
    part.picture.classList.toggle("live-drawable", active); // else a finger scrolls
    part.picture.setAttribute("role", active ? "application" : "img");
    part.picture.tabIndex = active ? 0 : -1;
    part.picture.setAttribute("aria-label", pictureLabel());
  }

  function remember() {
    const { picture, truth, scene, source } = state;
    state.undo = [...state.undo.slice(-19), { picture, truth, scene, source }];
    part.undo.disabled = false;
  }

  // Paints a line with round ends and a soft edge, from and to places in [0, 1]; the truth is no longer known then.
  function stroke(from, to) {
    const size = side(), radius = Number(part.size.value) * size / 96, { rgb } = state.brush;
    const [[x0, y0], [x1, y1]] = [from, to].map(place => place.map(v => v * size));
    const values = state.picture.values.slice();
    const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const px = x + 0.5 - x0, py = y + 0.5 - y0;
        const t = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(px - t * dx, py - t * dy)));
        if (cover) rgb.forEach((v, c) => {
          const i = 3 * (y * size + x) + c;
          values[i] += cover * (v / 255 - values[i]);
        });
      }
    }
    take({ ...state.picture, values });
    markScene();
  }

  // ---------------------------------------------------------------- the layers

  function layerOf(name) {
    return facts().layers.find(layer => layer.name === name);
  }

  function buildLayers() {
    const shown = facts().layers.filter(layer => layer.shown);
    const first = state.network === "coursenet" ? "relu3" : "block3";
    state.layer[state.network] = state.layer[state.network] || first;
    part.layer.textContent = "";
    for (const { name } of shown) part.layer.add(new Option(name, name));
    chooseLayer(state.layer[state.network]);
  }

  function buildMaps() {
    part.layer.addEventListener("change", () => {
      goTo(part.layer.value);
    });
    part.apart.addEventListener("change", drawMaps);
    part.grid.addEventListener("click", event => {
      const button = event.target.closest("button");
      if (!button) return;
      Object.assign(state, { channel: [...part.grid.children].indexOf(button), place: null });
      showChoice();
    });
    onArrows(part.grid, (dx, dy) => {
      const count = part.grid.children.length;
      Object.assign(state, { channel: (shownChannel() + dx + dy + count) % count, place: null });
      showChoice();
      part.grid.children[state.channel].focus();
    });
    part.large.addEventListener("click", event => {
      const box = part.large.getBoundingClientRect();
      choosePlace(
        nearest((event.clientY - box.top) / box.height * side(), state.map.height),
        nearest((event.clientX - box.left) / box.width * side(), state.map.width));
    });
    onArrows(part.large, (dx, dy) => {
      const { row, column } = shownPlace();
      choosePlace(row + dy, column + dx);
    });
  }

  // Another layer, and perhaps a channel and a position in it. One inside a block is added to the menu.
  function goTo(layer, channel = null, row = null, column = null) {
    state.layer[state.network] = layer;
    Object.assign(state, { channel, place: row === null ? null : { row, column } });
    chooseLayer(layer);
    return showMaps();
  }

  function chooseLayer(layer) {
    if (![...part.layer.options].some(option => option.value === layer)) part.layer.add(new Option(layer, layer));
    part.layer.value = layer;
  }

  function choosePlace(row, column) {
    const { height, width } = state.map, within = (v, count) => Math.min(count - 1, Math.max(0, v));
    state.place = { row: within(row, height), column: within(column, width) };
    showChoice();
  }

  // The unit on the map whose field's middle is nearest to a pixel.
  function nearest(pixel, count) {
    const { field } = layerOf(state.map.layer);
    if (!field.step) return 0;
    return Math.min(count - 1, Math.max(0, Math.round((pixel - middleOf(field)) / field.step)));
  }

  const middleOf = field => field.start + (field.size - 1) / 2;

  function shownPlace() {
    const { map } = state;
    if (state.place && state.place.row < map.height && state.place.column < map.width) return state.place;
    const best = winner(channelValues(map, shownChannel()));
    return { row: Math.floor(best / map.width), column: best % map.width };
  }

  function channelValues({ values, channels }, channel) {
    return Float32Array.from({ length: values.length / channels }, (_, i) => values[i * channels + channel]);
  }

  function shownChannel() {
    return state.channel === null ? winner(state.map.values) % state.map.channels : state.channel;
  }

  function isSigned(name) {
    return !["relu", "maxpool", "mean"].includes(layerOf(name).kind);
  }

  const nameOf = (layer, channel) => (layer === lastLayer() ? facts().classes[channel] : `channel ${channel}`);

  async function showMaps() {
    const layer = state.layer[state.network], map = await ask("map", { layer }).result;
    if (!map || layer !== state.layer[state.network]) return;
    state.map = { ...map, layer };
    await drawMaps();
  }

  function drawMaps() {
    const { map } = state, { layer } = map, { grid } = part;
    grid.setAttribute("aria-label", `Channels of ${layer}`);
    while (grid.children.length > map.channels) grid.lastChild.remove();
    while (grid.children.length < map.channels) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("role", "radio");
      button.append(document.createElement("canvas"));
      grid.append(button);
    }
    const shared = scaleOf(map.values, isSigned(layer));
    [...grid.children].forEach((button, channel) => {
      const values = channelValues(map, channel);
      const colour = colourOf(part.apart.checked ? scaleOf(values, isSigned(layer)) : shared);
      paint(button.firstChild, map.height, map.width, i => colour(values[i]));
      const name = nameOf(layer, channel);
      button.setAttribute("aria-label", `${name}, largest value ${number(values[winner(values)])}`);
      button.title = name;
    });
    return showChoice();
  }

  // The chosen channel over the picture, with the box that its strongest unit sees.
  function showChoice() {
    const channel = shownChannel(), { map, picture } = state, size = side();
    const { layer } = map;
    [...part.grid.children].forEach((button, i) => {
      button.setAttribute("aria-checked", i === channel);
      button.tabIndex = i === channel ? 0 : -1;
    });
    const values = channelValues(map, channel), scale = scaleOf(values, isSigned(layer)), colour = colourOf(scale);
    const { field } = layerOf(layer), { width } = map, { row, column } = shownPlace();
    const small = document.createElement("canvas");
    paint(small, size, size, i => { // each pixel in the colour of the unit that is nearest
      const [red, green, blue] = picture.values.subarray(3 * i, 3 * i + 3);
      const grey = 255 * (0.3 * red + 0.59 * green + 0.11 * blue);
      if (map.height === 1) return packed(grey, grey, grey);
      const tint = colour(values[nearest(Math.floor(i / size), map.height) * width + nearest(i % size, width)]);
      return packed(...[tint & 255, tint >> 8 & 255, tint >> 16 & 255].map(v => (v + grey) / 2));
    });
    const context = part.large.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, part.large.width, part.large.height);
    outline(context, field, row, column, part.large.width / size);
    showLegend(part.mapLegend, scale);
    const name = nameOf(layer, channel), largest = number(values[winner(values)], 2);
    const positive = values.reduce((count, v) => count + (v > 0), 0) / values.length;
    const place = v => Math.min(1, Math.max(0, (middleOf(field) + v * field.step) / size));
    const strongest = values[row * width + column] === values[winner(values)];
    part.mapText.textContent = map.height === 1
      ? `${layer}, ${name}: ${number(values[0], 2)}. It has no spatial positions: it sees the whole image.`
      : `${layer}, ${name}: largest value ${largest}; above zero at ${Math.round(100 * positive)}\u00a0% of its `
        + `${map.height} × ${width} positions. The box is what the ${strongest ? "strongest" : "chosen"} unit can see, `
        + `${where(place(row), place(column))}, ${field.size} × ${field.size} pixels. Touch the map to choose another.`;
    part.large.setAttribute("aria-label", `The map of ${name} over the picture, with the unit at row ${row + 1}, `
      + `column ${column + 1}. Arrow keys choose another.`);
    return live.toolbox.show({ network: state.network, layer, channel, row, column });
  }

  function outline(context, { size, step, start }, row, column, zoom) {
    const edge = (place, end) => Math.min(side(), Math.max(0, start + place * step + end));
    const [left, right] = step ? [edge(column, 0), edge(column, size)] : [0, side()];
    const [top, bottom] = step ? [edge(row, 0), edge(row, size)] : [0, side()];
    for (const [colour, thickness] of [["#000", 5], ["#fff", 2]]) { // seen on light and on dark
      Object.assign(context, { strokeStyle: colour, lineWidth: thickness });
      context.strokeRect(zoom * left + 2.5, zoom * top + 2.5, zoom * (right - left) - 5, zoom * (bottom - top) - 5);
    }
  }

  // ---------------------------------------------------------------- which pixels matter

  const WALK = "Walk a grey patch";

  // Stops what is at work.
  function stop() {
    for (const name of ["walking", "pushing"]) {
      if (state[name]) state[name].cancel();
      state[name] = null;
    }
    part.walked.hidden = part.pushing.hidden = true;
    part.walk.textContent = WALK;
  }

  // Results are of another picture now.
  function forgetResults() {
    stop();
    const size = side();
    for (const name of ["heat", "slope"]) {
      paint(part[name], size, size, () => 0); // transparent
      part[name].setAttribute("aria-label", `The ${name === "heat" ? "occlusion map" : "gradient"}, still empty`);
    }
    part.heatLegend.textContent = part.heatText.textContent = part.slopeLegend.textContent = "";
    if (state.byHand) coverByHand(false);
  }

  async function showSlope() {
    const { picture } = state, rule = part.rule.value, { best, name } = answer(state.logits);
    const slope = await ask("slope", { picture, label: best, rule }).result;
    if (picture !== state.picture) return;
    const size = side(), heat = new Float32Array(size * size);
    for (let i = 0; i < slope.length; i++) {
      const at = Math.floor(i / 3);
      heat[at] = Math.max(heat[at], Math.abs(slope[i]));
    }
    const scale = scaleOf(heat, false), colour = colourOf(scale);
    paint(part.slope, size, size, i => colour(heat[i]));
    showLegend(part.slopeLegend, scale, 2);
    const what = part.rule.selectedOptions[0].textContent, at = winner(heat);
    part.slope.setAttribute("aria-label", `The gradient of ${name}, ${what}: largest `
      + `${where(Math.floor(at / size) / size, at % size / size)}.`);
    part.slopeText.textContent = `How much the logit of ${name} changes with each pixel: ${what}.`;
  }

  async function walk() {
    if (state.walking) return stop(); // a second press
    stop();
    const { picture } = state, { best } = answer(state.logits), steps = [];
    Object.assign(part.walked, { hidden: false, value: 0 });
    part.walk.textContent = "Stop";
    let shown = performance.now();
    const job = ask("occlude", { picture, label: best, ...PATCHES[state.network] }, step => {
      if (state.walking !== job) return;
      steps.push(step);
      Object.assign(part.walked, { max: step.count, value: steps.length });
      if (stillPictures.matches || performance.now() - shown < 60) return;
      shown = performance.now();
      showPicture(part.picture, live.covered(picture, step.box, 0.5));
      showHeat(steps);
    });
    state.walking = job;
    const done = await job.result;
    if (done === null || state.walking !== job) return;
    stop();
    showPicture(part.picture, picture);
    showHeat(steps);
    tellWalk(steps, best);
  }

  function showHeat(steps) {
    const heat = live.spread(steps, state.picture), scale = scaleOf(heat, true), colour = colourOf(scale);
    paint(part.heat, side(), side(), i => colour(heat[i]));
    showLegend(part.heatLegend, scale);
  }

  function tellWalk(steps, best) {
    const name = facts().classes[best];
    const worst = steps.reduce((a, b) => (b.fall > a.fall ? b : a));
    const lifted = steps.reduce((a, b) => (b.fall < a.fall ? b : a));
    const place = ({ box }) => where((box.top + box.bottom) / 2 / side(), (box.left + box.right) / 2 / side());
    const others = steps.filter(step => step.winner !== best);
    const falls = `The logit of ${name} falls most, by ${number(worst.fall)}, with the patch ${place(worst)}`;
    const rises = `, and rises most, by ${number(-lifted.fall)}, with the patch ${place(lifted)}`;
    part.heatText.textContent = `${falls}${lifted.fall < 0 ? rises : ""}. `
      + `At ${others.length} of ${steps.length} positions the network predicts another class.`;
    part.heat.setAttribute("aria-label", `The occlusion map, red where covering lowers the score of ${name}.`);
  }

  // The patch led by hand, on the stage.
  function coverByHand(on) {
    if (on && !part.tools.hidden) part.draw.click();
    state.byHand = on ? [0.5, 0.5] : null;
    part.byHand.setAttribute("aria-pressed", on);
    part.byHandText.textContent = on ? "Drag the patch on the picture, or move it with the arrow keys." : "";
    part.stage.classList.toggle("live-covering", on);
    showMode();
    if (on) cover(0.5, 0.5);
    else if (state.logits) backToThePicture();
  }

  function cover(x, y) {
    state.byHand = [x, y].map(v => Math.min(1, Math.max(0, v)));
    coverNow();
  }

  const coverNow = latest(async () => {
    if (!state.byHand) return;
    const size = side(), { patch } = PATCHES[state.network], { picture, byHand } = state;
    const [left, top] = byHand.map(v => Math.round(Math.min(size - patch, Math.max(0, v * size - patch / 2))));
    const changed = live.covered(picture, { top, left, bottom: top + patch, right: left + patch }, 0.5);
    showPicture(part.picture, changed);
    const logits = await ask("logits", { picture: changed }).result;
    if (state.byHand && picture === state.picture) {
      showVerdict(logits, `Covered ${where((top + patch / 2) / size, (left + patch / 2) / size)}`);
    }
  });

  // ---------------------------------------------------------------- the push

  const push = latest(async () => {
    const step = Number(part.epsilon.value), how = part.direction.value, random = how === "random";
    const { picture, network } = state, size = side();
    part.epsilonText.textContent = step;
    part.epsilon.setAttribute("aria-valuetext", `${step} of 255`);
    if (!step) {
      paint(part.change, size, size, () => packed(128, 128, 128));
      part.change.setAttribute("aria-label", "No change: mid grey");
      if (part.back.dataset.of === "push") backToThePicture();
      delete part.back.dataset.of;
      say(part.pushedText, "Nothing is changed yet. After a push the mark on each bar is the probability before it.");
      return;
    }
    const before = answer(state.logits), job = ask("push", {
      picture, label: before.best, random, epsilon: step / 255, steps: random ? 1 : Number(how),
    }, ({ step: done, steps }) => Object.assign(part.pushing, { hidden: false, max: steps, value: done }));
    state.pushing = job;
    const found = await job.result;
    part.pushing.hidden = true;
    if (!found || picture !== state.picture || network !== state.network) return;
    const pushed = found.picture, now = answer(found.logits);
    showPicture(part.change, {
      ...pushed, values: pushed.values.map((v, i) => Math.min(1, Math.max(0, 0.5 + 10 * (v - picture.values[i])))),
    });
    part.change.setAttribute("aria-label", "Ten times the change, around mid grey");
    present(pushed, found.logits, `Pushed by ${step}/255`);
    part.back.dataset.of = "push";
    const along = random ? "along random signs" : `against ${before.name}`;
    say(part.pushedText, `Every value moved by at most ${step}/255 ${along}: the network says ${verdict(found.logits)}`
      + (now.best === before.best ? " As before." : ` It said ${before.name}, ${percent(before.probability)}.`));
  });

  // ---------------------------------------------------------------- start

  function build() {
    for (const name of ["above", "signed"]) ramps[name] = live.rampOf(bytes(live.facts.ramps[name]));
    const app = document.createElement("div");
    app.className = "live-app";
    app.innerHTML = MARKUP;
    part = live.parts(app);
    root.append(app);
    buildNetworks();
    buildBrush();
    buildOwn();
    buildMaps();
    part.picture.setAttribute("aria-label", "The picture");
    part.walk.addEventListener("click", walk);
    part.askSlope.addEventListener("click", showSlope);
    part.rule.addEventListener("change", showSlope);
    part.byHand.addEventListener("click", () => coverByHand(!state.byHand));
    const pushAnew = () => {
      if (state.pushing) state.pushing.cancel();
      push();
    };
    part.epsilon.addEventListener("input", pushAnew);
    part.direction.addEventListener("change", pushAnew);
    live.toolbox.build(part.toolbox, { state, ask, say, goTo, latest });
    live.lab.build(part.lab, {
      state, facts, ask, present, answer, say, take, remember,
      showOnStage: picture => showPicture(part.picture, picture), still: () => stillPictures.matches,
    });
  }

  async function start() {
    const note = document.createElement("p");
    note.className = "live-loading";
    note.setAttribute("role", "status");
    note.innerHTML = `Loading the network, 4.9 MB <progress aria-label="loading the network"></progress>`;
    root.prepend(note);
    const bar = note.querySelector("progress");
    try {
      if (!live.facts) await live.script("facts.js");
      await load("coursenet", (done, all) => Object.assign(bar, { max: all, value: done }));
      build();
      await choose("coursenet");
      note.remove();
      root.classList.add("live-ready"); // hides the recorded version, except on paper
    } catch (error) {
      note.textContent = `The network could not be loaded (${error.message}). The recorded version stands below. `;
      const again = document.createElement("button");
      again.type = "button";
      again.textContent = "Try again";
      again.addEventListener("click", () => { note.remove(); start(); });
      note.append(again);
    }
  }

  start();
})();
