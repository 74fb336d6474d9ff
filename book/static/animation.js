// An animation (course_lib.plotting.Animation) works without this script, but an image cannot be stopped where it is.
// Here its frames are drawn one by one: with a slider, and at rest while nobody sees them.
window.addEventListener("DOMContentLoaded", () => {
  if (window.ImageDecoder) document.querySelectorAll(".animation").forEach(upgrade);
});

async function upgrade(figure) {
  const image = figure.querySelector("img");
  const data = await (await fetch(image.src)).arrayBuffer();
  const decoder = new ImageDecoder({ data, type: "image/webp" });
  await Promise.all([decoder.tracks.ready, decoder.completed]);
  const last = decoder.tracks.selectedTrack.frameCount - 1;

  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  [canvas.width, canvas.height] = [image.getAttribute("width"), image.getAttribute("height")];
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", image.alt);
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: last, value: last });
  slider.setAttribute("aria-label", "frame");
  const controls = Object.assign(document.createElement("div"), { className: "controls" });
  controls.append(button, slider);

  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches, seen = false, timer;

  async function show() {
    const frame = (await decoder.decode({ frameIndex: Number(slider.value) })).image;
    canvas.getContext("2d").drawImage(frame, 0, 0);
    slider.setAttribute("aria-valuetext", `${Number(slider.value) + 1} of ${last + 1}`);
    frame.close();
    return frame.duration / 1000; // microseconds
  }
  async function run() {
    clearTimeout(timer);
    button.textContent = playing ? "pause" : "play";
    const wait = await show();
    clearTimeout(timer);
    if (playing && seen) timer = setTimeout(next, wait);
  }
  function next() {
    slider.value = Number(slider.value) === last ? 0 : Number(slider.value) + 1;
    run();
  }
  button.onclick = () => {
    playing = !playing;
    playing ? next() : run();
  };
  slider.oninput = () => {
    playing = false;
    run();
  };
  await run();
  image.parentElement.replaceWith(canvas);
  figure.querySelector("label").replaceWith(controls);
  new IntersectionObserver(([entry]) => {
    seen = entry.isIntersecting;
    run();
  }).observe(canvas);
}
