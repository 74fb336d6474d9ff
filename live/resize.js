// The square of an image, made smaller or larger as the book does it: with Pillow's Lanczos, to whole numbers after
// each of its two passes, so that the page and a notebook see the same pixels of one file.

"use strict";

globalThis.live = globalThis.live || {};

(() => {
  // For each of `to` pixels, which pixels of a line make it, from `first` on, and with what weights. The line's part
  // from `start` on, `length` pixels, is resized with Lanczos's window of three lobes; as in Pillow, which the book
  // uses, what lies beside that part is seen by its outermost pixels.
  function lanczos(line, start, length, to) {
    const scale = length / to, wide = Math.max(1, scale), sinc = x => (x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1);
    return Array.from({ length: to }, (_, i) => {
      const centre = start + (i + 0.5) * scale;
      const first = Math.max(0, Math.floor(centre - 3 * wide + 0.5));
      const last = Math.min(line, Math.floor(centre + 3 * wide + 0.5));
      const weights = Array.from({ length: last - first }, (_, k) => {
        const x = (first + k - centre + 0.5) / wide;
        return Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
      });
      const sum = weights.reduce((a, b) => a + b);
      return { first, weights: weights.map(w => w / sum) };
    });
  }

  // How a square of an image of width x height becomes side x side: the part of the image that is seen, the weights of
  // its pixels, and which pass comes first. Pillow goes along the rows first, and since its version 13 down the columns
  // where far more rows are lost than columns.
  function resizing(width, height, { left, top, side: length }, side) {
    const [column, row] = [left, top].map(v => Math.floor(v + 1e-6)); // many small steps add up to nearly a whole one
    const across = lanczos(width, column, length, side), down = lanczos(height, row, length, side);
    const [x, wide] = reach(across), [y, tall] = reach(down);
    return { across, down, x, y, wide, tall, columnsFirst: height - side > Math.max(0, 2 * (width - side)) };
  }

  const reach = filters => [filters[0].first, filters.at(-1).first + filters.at(-1).weights.length - filters[0].first];

  // One pass over an image of `step` bytes a pixel, to three bytes a pixel and whole numbers, as Pillow does it.
  function alongRows({ data, width, height, step }, filters, from) {
    const out = new Uint8ClampedArray(3 * filters.length * height);
    for (let y = 0, to = 0; y < height; y++) {
      for (const { first, weights } of filters) {
        let at = step * (y * width + first - from), red = 0, green = 0, blue = 0;
        for (const w of weights) {
          red += w * data[at]; green += w * data[at + 1]; blue += w * data[at + 2];
          at += step;
        }
        out[to++] = red; out[to++] = green; out[to++] = blue;
      }
    }
    return { data: out, width: filters.length, height, step: 3 };
  }

  function downColumns({ data, width, step }, filters, from) {
    const out = new Uint8ClampedArray(3 * width * filters.length);
    filters.forEach(({ first, weights }, y) => {
      for (let x = 0, to = 3 * y * width; x < width; x++) {
        let at = step * ((first - from) * width + x), red = 0, green = 0, blue = 0;
        for (const w of weights) {
          red += w * data[at]; green += w * data[at + 1]; blue += w * data[at + 2];
          at += step * width;
        }
        out[to++] = red; out[to++] = green; out[to++] = blue;
      }
    });
    return { data: out, width, height: filters.length, step: 3 };
  }

  // The bytes of the square, three a pixel, from those of the part that is seen, four a pixel.
  function resized({ across, down, x, y, wide, tall, columnsFirst }, data) {
    const passes = [image => alongRows(image, across, x), image => downColumns(image, down, y)];
    if (columnsFirst) passes.reverse();
    return passes.reduce((image, pass) => pass(image), { data, width: wide, height: tall, step: 4 }).data;
  }

  Object.assign(live, { resizing, resized });
})();
