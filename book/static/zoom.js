// A large picture (course_lib.plotting.Zoomable) opens at full size without this script. Here OpenSeadragon makes a map
// of it: zoom at the pointer, drag, pinch, keys. If it has tiles, each tells its name and shows its neighbours.
(() => {
  const library = new URL("zoom/openseadragon.min.js", document.currentScript.src).href;
  window.addEventListener("DOMContentLoaded", () => {
    const figures = document.querySelectorAll("figure.zoomable");
    if (!figures.length) return;
    const script = make("script", { src: library });
    script.onload = () => figures.forEach(upgrade);
    document.head.append(script);
  });

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function draw(tag, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    return element;
  }

  function upgrade(figure, number) {
    const image = figure.querySelector("img");
    const [width, height] = [Number(image.getAttribute("width")), Number(image.getAttribute("height"))];
    const stage = make("div", { className: "stage" });
    const text = make("div", { className: "text" });
    figure.style.setProperty("--aspect", width / height);
    figure.querySelector("label").replaceWith(
      make("div", { className: "layout" }, make("div", { className: "frame" }, stage), text));

    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const gestures = { clickToZoom: false, dblClickToZoom: true, flickEnabled: !still };
    const viewer = OpenSeadragon({
      element: stage,
      tileSources: { type: "image", url: image.src },
      drawer: "canvas",
      showNavigationControl: false,
      keyboardNavEnabled: false, // the keys are below
      gestureSettingsMouse: gestures,
      gestureSettingsTouch: gestures,
      gestureSettingsPen: gestures,
      animationTime: still ? 0 : 0.6,
      zoomPerScroll: 1.25,
      visibilityRatio: 1,
      minZoomImageRatio: 1,
      maxZoomPixelRatio: 4,
      constrainDuringPan: true,
    });
    // A click gives it the keys, but does not move the page.
    viewer.canvas.focus = () => HTMLElement.prototype.focus.call(viewer.canvas, { preventScroll: true });
    viewer.addOnceHandler("open", () => {
      const tiles = figure.dataset.tiles && tell(viewer, text, image, JSON.parse(figure.dataset.tiles));
      sharePage(viewer, stage);
      steer(viewer, figure, tiles);
      describe(viewer, text, image, number, Boolean(tiles));
    });
  }

  // The page scrolls past a picture that is seen whole: a finger moves the page, two fingers zoom; the wheel zooms in,
  // but a turn that began outside, or would zoom out further, goes to the page. A picture zoomed into takes all of it.
  function sharePage(viewer, stage) {
    const whole = () => viewer.viewport.getZoom() <= viewer.viewport.getHomeZoom() * 1.01;
    let wheel = false, last = -Infinity;
    const share = () => viewer.setCooperativeGestures(whole() && !wheel);
    viewer.addHandler("canvas-cooperative-gesture", event => { event.preventDefaultAction = true; }); // no message
    viewer.addHandler("zoom", share);
    window.addEventListener("wheel", event => {
      if (event.timeStamp - last > 300) { // another turn of the wheel
        wheel = stage.contains(event.target) && (event.deltaY < 0 || !whole());
        share();
      }
      last = event.timeStamp;
    }, { capture: true, passive: true });
    share();
  }

  // Buttons and keys.
  function steer(viewer, figure, tiles) {
    const view = viewer.viewport;
    const zoom = factor => view.zoomBy(factor, tiles && tiles.chosen()).applyConstraints();
    const step = (x, y) => tiles ? tiles.step(x, y)
      : view.panBy(new OpenSeadragon.Point(x, y).times(0.2 * view.getBounds().width)).applyConstraints();
    const keys = {
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5),
      "0": () => view.goHome(), "Home": () => view.goHome(),
      "ArrowLeft": () => step(-1, 0), "ArrowRight": () => step(1, 0),
      "ArrowUp": () => step(0, -1), "ArrowDown": () => step(0, 1),
    };
    if (tiles) keys.Enter = tiles.enter;
    keys.Escape = () => tiles && tiles.chosen() ? tiles.clear() : figure.closest("dialog")?.close();
    viewer.canvas.addEventListener("keydown", event => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      keys[event.key]();
      event.preventDefault();
    });
    const button = (name, path, action) => {
      const icon = draw("svg", { viewBox: "0 0 24 24", "aria-hidden": true });
      icon.append(draw("path", { d: path }));
      const made = make("button", { type: "button", title: name, onclick: action }, icon);
      made.setAttribute("aria-label", name);
      return made;
    };
    const tools = make("div", { className: "tools" },
      button("zoom in", "M5 12h14M12 5v14", keys["+"]),
      button("zoom out", "M5 12h14", keys["-"]),
      button("whole picture", "M4 11l8-7 8 7M6 10v9h12v-9", keys["0"]),
      button("full page", "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5", () => fillPage(viewer, figure)));
    viewer.element.after(tools);
  }

  // The figure in a window of its own over the page; Escape or the same button puts it back.
  function fillPage(viewer, figure) {
    const open = figure.closest("dialog");
    if (open) return open.close();
    const page = make("dialog", { className: "zoomable-page" });
    page.setAttribute("aria-label", "picture on the full page");
    const gap = make("div");
    gap.style.height = `${figure.offsetHeight}px`; // so that the page does not jump
    figure.replaceWith(gap);
    gap.after(page);
    page.append(figure);
    page.onclose = () => { gap.replaceWith(figure); page.remove(); viewer.canvas.focus(); };
    page.showModal();
    viewer.canvas.focus();
  }

  // What it shows, how it is moved, and the file.
  function describe(viewer, text, image, number, tiled) {
    const help = make("p", { className: "help", id: `zoom-help-${number}` },
      "Zoom with the wheel, a pinch or a double click; drag to move. ",
      tiled ? "Click a tile for its name and its neighbours. " : "",
      make("span", { className: "keys" }, tiled ? "Keys: arrows go from tile to tile, Enter zooms to it, " : "Keys: arrows, ",
        "+ and − zoom, 0 shows all. "));
    const kilobytes = Math.round(image.src.length * 3 / 4000);
    const size = `${image.getAttribute("width")} × ${image.getAttribute("height")} pixels, ${kilobytes} kB`;
    const name = `picture.${image.src.match(/^data:image\/(\w+)/)[1]}`;
    help.append(make("a", { href: image.src, download: name }, `Save the picture (${size})`));
    text.append(help);
    viewer.canvas.setAttribute("role", "application");
    viewer.canvas.setAttribute("aria-roledescription", "zoomable picture");
    viewer.canvas.setAttribute("aria-label", image.alt);
    viewer.canvas.setAttribute("aria-describedby", help.id);
  }

  // Tiles: {grid: rows of numbers (-1 is none), names, also (in another language), language, neighbours}.
  function tell(viewer, text, image, { grid, names, also, language, neighbours }) {
    const view = viewer.viewport, [rows, columns] = [grid.length, grid[0].length];
    const [width, height] = [Number(image.getAttribute("width")), Number(image.getAttribute("height"))];
    const [across, down] = [(width - 1) / columns, (height - 1) / rows]; // a tile and the white line before it
    const cells = new Map(grid.flatMap((row, y) => row.map((tile, x) => [tile, [x, y]])));
    const box = tile => {
      const [x, y] = cells.get(tile);
      return { x: 1 + x * across, y: 1 + y * down, width: across - 1, height: down - 1 };
    };
    const rect = tile => {
      const { x, y, width: w, height: h } = box(tile);
      return view.imageToViewportRectangle(x, y, w, h);
    };
    const near = tile => (neighbours ? neighbours[tile] : []).filter(other => cells.has(other));
    let chosen = null;

    // Over the picture: all but the tile and its neighbours under a veil.
    const veil = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "veil", "aria-hidden": true });
    viewer.addOverlay({ element: make("div", { className: "over" }, veil), location: view.imageToViewportRectangle(0, 0, width, height) });
    function mark() {
      const lit = chosen === null ? [] : [chosen, ...near(chosen)];
      const holes = lit.map(box).map(b => `M${b.x} ${b.y}h${b.width}v${b.height}h${-b.width}z`).join("");
      veil.replaceChildren(
        draw("path", { "fill-rule": "evenodd", d: lit.length ? `M0 0h${width}v${height}h${-width}z${holes}` : "" }),
        ...lit.map((tile, i) => draw("rect", { ...box(tile), class: i ? "near" : "chosen" })).reverse());
    }

    // The closer one looks, the thinner the veil.
    viewer.addHandler("zoom", ({ zoom }) => veil.style.setProperty("--veil", 0.7 / Math.max(1, zoom / view.getHomeZoom())));

    // Below it: the name, and the neighbours cut from the same picture.
    const caption = make("p", { className: "name" });
    const row = make("div", { className: "beside", role: "group" });
    row.setAttribute("aria-label", "nearest neighbours");
    const bar = make("div", { className: "told" }, caption, row);
    bar.setAttribute("aria-live", "polite");
    text.append(bar);
    const title = tile => {
      const other = make("span", { lang: language }, also[tile] || "");
      return [names[tile], ...(also[tile] ? [" ", other] : [])];
    };
    const count = neighbours ? neighbours[0].length : 0;
    const buttons = Array.from({ length: count }, () => {
      const canvas = make("canvas", { width: 128, height: Math.round(128 * (down - 1) / (across - 1)) });
      const label = make("span");
      return { canvas, label, element: make("button", { type: "button" }, canvas, label) };
    });
    function say() {
      bar.hidden = chosen === null;
      if (chosen === null) return;
      caption.replaceChildren(...title(chosen));
      row.replaceChildren(...near(chosen).map((tile, i) => {
        const { canvas, label, element } = buttons[i], { x, y, width: w, height: h } = box(tile);
        canvas.getContext("2d").drawImage(image, x, y, w, h, 0, 0, canvas.width, canvas.height);
        label.replaceChildren(...title(tile));
        element.onclick = () => visit(tile);
        return element;
      }));
    }

    function choose(tile) {
      chosen = tile;
      mark();
      say();
    }
    function visit(tile) { // one that may be out of sight
      choose(tile);
      const seen = view.getBounds(), here = rect(tile);
      if (!seen.containsPoint(here.getTopLeft()) || !seen.containsPoint(here.getBottomRight()))
        view.panTo(here.getCenter()).applyConstraints();
    }
    const where = event => {
      const { x, y } = viewer.canvas.getBoundingClientRect();
      return new OpenSeadragon.Point(event.clientX - x, event.clientY - y);
    };
    const at = point => {
      const { x, y } = view.viewerElementToImageCoordinates(point);
      const tile = (grid[Math.floor((y - 0.5) / down)] || [])[Math.floor((x - 0.5) / across)];
      return tile >= 0 ? tile : null;
    };
    const central = () => {
      const middle = view.getCenter();
      const distance = tile => rect(tile).getCenter().distanceTo(middle);
      return [...cells.keys()].filter(tile => tile >= 0).reduce((a, b) => distance(b) < distance(a) ? b : a);
    };

    // The name beside the pointer.
    const tip = make("div", { className: "tip", hidden: true });
    tip.setAttribute("aria-hidden", true);
    viewer.element.append(tip);
    viewer.canvas.addEventListener("pointermove", event => {
      const { x, y } = where(event);
      const tile = event.pointerType === "mouse" && !event.buttons ? at(where(event)) : null;
      tip.hidden = tile === null;
      if (tile === null) return;
      tip.replaceChildren(...title(tile));
      tip.style.transform = `translate(min(${x + 14}px, ${viewer.canvas.clientWidth}px - 100%), ${y > 60 ? y - 40 : y + 24}px)`;
    });
    viewer.canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    // The browser's own click: of a finger that may scroll the page, OpenSeadragon does not hear.
    let pressed;
    viewer.canvas.addEventListener("pointerdown", event => { pressed = event; });
    viewer.canvas.addEventListener("click", event => {
      if (Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < 6) choose(at(where(event)));
    });

    say();
    return {
      chosen: () => chosen === null ? null : rect(chosen).getCenter(),
      clear: () => choose(null),
      enter() {
        if (chosen === null) return visit(central());
        const { x, y, width: w, height: h } = box(chosen);
        view.fitBoundsWithConstraints(view.imageToViewportRectangle(x - 2 * w, y - 2 * h, 5 * w, 5 * h));
      },
      step(right, below) {
        if (chosen === null) return visit(central());
        let [x, y] = cells.get(chosen), tile;
        do [x, y] = [x + right, y + below], tile = (grid[y] || [])[x];
        while (tile === -1);
        if (tile !== undefined) visit(tile);
      },
    };
  }
})();
