// The toolbox: of one unit, the image that it responds to most, its nine top patches, and why it has its value at one
// position: the inputs that weigh most, each opened as window x kernel = product.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  const MARKUP = `
    <div class="live-row live-unit">
      <figure data-wanted-figure>
        <canvas width="128" height="128" role="img" data-wanted></canvas>
        <figcaption data-wanted-text></figcaption>
      </figure>
      <figure data-patches-figure>
        <canvas width="200" height="200" role="img" data-patches></canvas>
        <figcaption data-patches-text></figcaption>
      </figure>
      <p class="live-note live-beside" data-stored-text></p>
    </div>
    <h4 data-why-title></h4>
    <p class="live-note" role="status" data-why></p>
    <ol class="live-terms" data-terms></ol>
    <p class="live-note" data-rest></p>`;
  const COUNT = 6; // terms that are shown
  const COLOURS = ["red", "green", "blue"];
  const LARGEST = 7; // the side of a window whose numbers are written out

  let page, part; // what page.js lends; name -> element
  let unit = null; // {network, layer, channel, row, column}
  let opened = new Set(); // ranks of the terms that are open

  const number = value => live.number(value, 2);
  const withSign = value => (value < 0 ? number(value) : `+${number(value)}`);

  // ---------------------------------------------------------------- what is stored

  const sheets = new Map(); // file -> promise of its image

  function sheet(name) {
    if (!sheets.has(name)) {
      const coming = live.element(live.address(name), name);
      coming.catch(() => sheets.delete(name)); // asked for again the next time
      sheets.set(name, coming);
    }
    return sheets.get(name);
  }

  async function stored(network) {
    if (!live.units?.[network]) await live.script(`units-${network}.js`);
    return live.units[network];
  }

  // The layer whose sheets show this unit: a convolution's and a pooling layer's channels are those of their ReLU.
  function shownBy(layers, layer) {
    return [layer, layer.replace(/^(conv|pool)/, "relu")].find(name => name in layers);
  }

  async function showStored() {
    const mine = unit, { network, layer, channel } = mine;
    try {
      const { layers, credit } = await stored(network), name = shownBy(layers, layer);
      const images = name && await Promise.all(["wanted", "patches"].map(
        kind => sheet(`${kind}-${network}-${name}.webp`)));
      if (mine !== unit) return;
      part.wantedFigure.hidden = part.patchesFigure.hidden = !name;
      part.storedText.textContent = name ? ""
        : `Images of single units are stored for ${Object.keys(layers).join(", ")}. Choose one of these layers.`;
      if (name) drawStored(images, layers[name], { name, channel, credit });
    } catch (error) {
      part.wantedFigure.hidden = part.patchesFigure.hidden = true;
      part.storedText.textContent = `What is stored of this unit could not be loaded (${error.message}).`;
    }
  }

  function drawStored([wanted, patches], { size, tile, columns, values }, { name, channel, credit }) {
    const first = part.wanted.getContext("2d"), second = part.patches.getContext("2d");
    first.imageSmoothingEnabled = second.imageSmoothingEnabled = size > 40;
    const { width, height } = part.wanted;
    first.drawImage(
      wanted, channel % columns * size, Math.floor(channel / columns) * size, size, size, 0, 0, width, height);
    second.clearRect(0, 0, part.patches.width, part.patches.height);
    for (let rank = 0; rank < 9; rank++) {
      second.drawImage(
        patches, rank * tile, channel * tile, tile, tile, rank % 3 * 68, Math.floor(rank / 3) * 68, 64, 64);
    }
    part.wantedText.textContent = `What it responds to most: gradient ascent on one unit of ${name}, `
      + `which sees ${size} × ${size} pixels.`;
    part.wanted.setAttribute("aria-label", `An image made for channel ${channel} of ${name}`);
    const [most, least] = [values[channel][0], values[channel][8]].map(number);
    part.patchesText.textContent = `Its nine top patches, from ${most} down to ${least}. ${credit}`;
    part.patches.setAttribute("aria-label", `The nine patches that channel ${channel} of ${name} responds to most, `
      + `from ${most} down to ${least}`);
  }

  // ---------------------------------------------------------------- why

  function nameOf(from, channel) {
    return from === "input" ? `${COLOURS[channel]} of the image` : `channel ${channel} of ${from}`;
  }

  async function explain() {
    const mine = unit, found = await page.ask("explain", { ...mine, count: COUNT }).result;
    if (!found || mine !== unit || mine.network !== page.state.network) return;
    const { rest } = found, silent = found.path.includes("relu") && found.value <= 0;
    part.whyTitle.textContent = silent ? "Why it is silent here" : "Why it responds here";
    page.say(part.why, `At row ${mine.row + 1}, column ${mine.column + 1} it has ${number(found.value)}: `
      + `${inWords(found, silent)} ${partsInWords(found)}`);
    part.rest.textContent = rest.count ? `The other ${rest.count} add ${withSign(rest.sum)}.` : "";
    showTerms(found);
  }

  function inWords({ value, path, layer, skip, sum }, silent) {
    if (skip) return `${number(sum)} from ${layer}, and ${withSign(skip.value)} that ${skip.from} adds.`;
    if (silent) return `the ReLU makes zero of ${number(sum)}, the sum of ${layer}.`;
    return `the sum of ${layer}, ${number(sum)}${path.includes("relu") && sum > value ? ", which the ReLU cuts" : ""}.`;
  }

  function partsInWords({ from, bias, terms, rest }) {
    const count = terms.length + rest.count, of = from === "input" ? "the normalised image" : from;
    const many = count === 1 ? `one term, from a channel of ${of}:` : `${count} terms, one for each channel of ${of}`;
    return `The sum is a bias of ${withSign(bias)} and ${many}${rest.count ? "; these weigh most:" : count > 1 ? ":" : ""}`;
  }

  function showTerms({ from, terms }) {
    const scales = ["window", "kernel", "product"].map(kind => {
      const values = terms.flatMap(term => [...numbersOf(term, kind)]);
      return live.scaleOf(values, kind !== "window" || values.some(v => v < 0));
    });
    const largest = Math.max(...terms.map(({ sum }) => Math.abs(sum))) || 1;
    part.terms.replaceChildren(...terms.map((term, rank) => {
      const item = document.createElement("li"), details = document.createElement("details");
      const summary = document.createElement("summary"), share = 100 * Math.abs(term.sum) / largest;
      summary.innerHTML = `<span class="live-term-name">${nameOf(from, term.channel)}</span>
        <span class="live-product" aria-hidden="true"><canvas></canvas>×<canvas></canvas>=<canvas></canvas></span>
        <span class="live-term-bar" aria-hidden="true"><i class="${term.sum < 0 ? "live-less" : ""}"
          style="width:${share}%"></i></span>
        <b>${withSign(term.sum)}</b>`;
      summary.querySelectorAll("canvas").forEach((canvas, i) => {
        const values = numbersOf(term, ["window", "kernel", "product"][i]), colour = live.colourOf(scales[i]);
        live.paint(canvas, term.height, term.width, k => colour(values[k]));
      });
      details.append(summary);
      details.setAttribute("aria-label", `${nameOf(from, term.channel)}, ${withSign(term.sum)}`);
      details.open = opened.has(rank);
      if (details.open) details.append(numbers(term, from, scales));
      details.addEventListener("toggle", () => {
        if (details.open) opened.add(rank); else opened.delete(rank);
        if (details.open && details.children.length === 1) details.append(numbers(term, from, scales));
      });
      item.append(details);
      return item;
    }));
  }

  function numbersOf({ window, kernel }, kind) {
    return { window, kernel, product: window.map((v, i) => v * kernel[i]) }[kind];
  }

  // What is behind a term: the numbers of the window, of the kernel and of their product, and a way to that channel.
  function numbers(term, from, scales) {
    const box = document.createElement("div"), { top, left, height, width, sum } = term;
    box.className = "live-numbers";
    const captions = [
      `Input: rows ${top + 1} to ${top + height}, columns ${left + 1} to ${left + width}`, "Kernel",
      `Product, sum ${withSign(sum)}`,
    ];
    if (Math.max(height, width) <= LARGEST) {
      ["window", "kernel", "product"].forEach((kind, i) => {
        box.append(tableOf(numbersOf(term, kind), width, scales[i], captions[i]));
      });
    }
    if (from === "input") return box;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Go to ${nameOf(from, term.channel)}`;
    button.addEventListener("click", () => {
      const strongest = live.winner(numbersOf(term, "product").map(Math.abs));
      page.goTo(from, term.channel, top + Math.floor(strongest / width), left + strongest % width);
    });
    box.append(button);
    return box;
  }

  function tableOf(values, width, scale, caption) {
    const table = document.createElement("table"), colour = live.colourOf(scale);
    table.createCaption().textContent = caption;
    const body = table.createTBody();
    values.forEach((value, i) => {
      const row = i % width ? body.lastChild : body.insertRow(), cell = row.insertCell(), tint = colour(value);
      const [red, green, blue] = [tint & 255, tint >> 8 & 255, tint >> 16 & 255];
      cell.textContent = number(value);
      cell.style.background = `rgb(${red},${green},${blue})`;
      cell.style.color = 0.3 * red + 0.59 * green + 0.11 * blue > 120 ? "#000" : "#fff";
    });
    return table;
  }

  // ---------------------------------------------------------------- from page.js

  let explainNow; // the latest unit's explanation, one after the other

  function build(element, lent) {
    page = lent;
    element.innerHTML = MARKUP;
    part = live.parts(element);
    explainNow = page.latest(explain);
  }

  function show(shown) {
    const another = !unit || ["network", "layer", "channel"].some(key => shown[key] !== unit[key]);
    if (another) opened = new Set();
    unit = shown;
    if (another) showStored();
    return explainNow();
  }

  live.toolbox = { build, show };
})();
