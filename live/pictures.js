// Pictures on canvases, in colours and numbers; and pictures from files and cameras.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  const WORKING = 16e6; // pixels that are kept of a reader's photograph: the largest canvas of a phone
  const PREVIEW = 640; // the longest side of the picture in which the square is chosen
  const LARGEST = 64e6; // pixels; more would fill a phone's memory

  // The elements below one by their data attributes: data-map-text is parts.mapText.
  function parts(root) {
    const found = {};
    for (const element of root.querySelectorAll("*")) {
      for (const name of Object.keys(element.dataset)) found[name] = element;
    }
    return found;
  }

  // ---------------------------------------------------------------- to a canvas

  // side x side pixels of three bytes
  function asPicture(bytes, side) {
    const values = new Float32Array(3 * side * side);
    for (let i = 0; i < values.length; i++) values[i] = bytes[i] / 255;
    return { values, height: side, width: side, channels: 3 };
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

  function showPicture(canvas, { values, height, width }) {
    canvas.classList.toggle("live-smooth", width > 96);
    paint(canvas, height, width, i => (
      packed(255 * values[3 * i] + 0.5, 255 * values[3 * i + 1] + 0.5, 255 * values[3 * i + 2] + 0.5)));
  }

  // A ramp is 256 packed colours; a scale goes through it from low to high.
  const ramps = {};

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

  function showLegend(element, scale, digits = 1) {
    const stops = Array.from({ length: 17 }, (_, i) => {
      const colour = scale.ramp[Math.round(i * 255 / 16)];
      return `rgb(${colour & 255},${colour >> 8 & 255},${colour >> 16 & 255})`;
    });
    element.innerHTML = `<span>${number(scale.low, digits)}</span>`
      + `<i style="background:linear-gradient(90deg,${stops})"></i><span>${number(scale.high, digits)}</span>`;
  }

  function number(value, digits = 1) {
    return value.toFixed(digits).replace("-", "\u2212");
  }

  function percent(p) {
    return `${(100 * p).toFixed(1)}\u00a0%`;
  }

  function where(y, x) { // in words, for a place in the picture, both in [0, 1]
    const row = ["upper", "middle", "lower"][Math.min(2, Math.floor(3 * y))];
    const column = ["left", "middle", "right"][Math.min(2, Math.floor(3 * x))];
    if (row === "middle" && column === "middle") return "in the middle";
    return `at the ${row} ${column}`.replace("upper middle", "top").replace("lower middle", "bottom")
      .replace("middle ", "");
  }

  // ---------------------------------------------------------------- from a file

  // What stands before a person: "beach.jpg is not a picture that this browser can read."
  class Unreadable extends Error {}

  // A canvas with the picture of a file, upright, with at most WORKING pixels; of a moving one the first frame.
  async function read(file) {
    const address = URL.createObjectURL(file);
    try {
      const { naturalWidth: width, naturalHeight: height } = await element(address, file.name);
      if (width * height > LARGEST) {
        throw new Unreadable(`${file.name} has ${width} × ${height} pixels, more than the 64 million that this page can `
          + "hold. Make it smaller first.");
      }
    } finally {
      URL.revokeObjectURL(address);
    }
    let bitmap;
    try {
      bitmap = await createImageBitmap(file); // turned as its EXIF data say
    } catch {
      throw new Unreadable(`${file.name} is not a picture that this browser can read.`);
    }
    const canvas = kept(bitmap);
    bitmap.close();
    return canvas;
  }

  function element(address, name = "The picture") {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Unreadable(`${name} is not a picture that this browser can read.`));
      image.src = address;
    });
  }

  function kept(source) {
    const width = source.videoWidth || source.width, height = source.videoHeight || source.height;
    return shrunk(source, width, height, Math.sqrt(WORKING / (width * height)));
  }

  function preview(source) {
    const { width, height } = source;
    return shrunk(source, width, height, PREVIEW / Math.max(width, height));
  }

  // A drawable thing as a canvas, halved until it is small enough; never enlarged.
  function shrunk(source, width, height, scale) {
    scale = Math.min(1, scale);
    const [last, low] = [width, height].map(side => Math.max(1, Math.round(side * scale)));
    while (width > 2 * last) {
      [width, height] = [width, height].map(side => Math.ceil(side / 2));
      source = drawn(source, width, height);
    }
    return drawn(source, last, low);
  }

  function drawn(source, width, height) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white"; // behind what is transparent
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(source, 0, 0, width, height);
    return canvas;
  }

  // The square of a canvas as a picture of so many pixels a side. The worker makes it: a photograph has many pixels.
  async function squareOf(source, square, side) {
    const plan = live.resizing(source.width, source.height, square, side), { x, y, wide, tall } = plan;
    const { data } = source.getContext("2d").getImageData(x, y, wide, tall);
    return asPicture(await live.ask("resize", { plan, data }).result, side);
  }

  // ---------------------------------------------------------------- from a camera

  // Shows what the camera sees in a <video>; resolves to a function that takes the picture and stops the camera.
  async function camera(video) {
    if (!navigator.mediaDevices) throw new Unreadable("This browser does not lend its camera to this page.");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      throw new Unreadable(error.name === "NotFoundError" ? "There is no camera here."
        : `The camera could not be opened (${error.message || error.name}).`);
    }
    video.srcObject = stream;
    await video.play();
    return take => {
      const canvas = take ? kept(video) : null;
      for (const track of stream.getTracks()) track.stop();
      video.srcObject = null;
      return canvas;
    };
  }

  Object.assign(live, {
    parts, asPicture, packed, paint, showPicture, ramps, rampOf, colourOf, scaleOf, showLegend, number, percent, where,
    Unreadable, read, element, kept, preview, squareOf, camera,
  });
})();
