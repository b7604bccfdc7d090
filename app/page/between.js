// Between two pictures: all frames of the way are fetched, from coarse to fine, and dragging goes through them.

import { LIGHT, path, picture } from "./address.js";
import { caption } from "./caption.js";
import { $, h, icon, say } from "./dom.js";
import { onwards } from "./keys.js";
import { grow } from "./picture.js";
import { PARTS_MAX, between as pointBetween, isPlain, label, plain, read, write } from "./point.js";
import { RefusalError } from "./service.js";
import { slot } from "./slot.js";
import { go } from "./state.js";

const LAST = 32; // so few frames that a cache keeps them all, so many that the eye joins them
const AT_ONCE = 4;
const LENGTH_MS = 3000;

/** Sets up the view, and returns what shows a state of it. */
export function between() {
  const [stage, share, play] = [$("#stage"), $("#share"), $("#play")];
  const caption_ = caption($("#between-caption"));
  const ends = { a: slot("From", (point) => end("a", point)), b: slot("To", (point) => end("b", point)) };
  for (const [key, { element }] of Object.entries(ends)) $(`#end-${key}`).append(element);
  let [a, b, way] = [];
  let control = new AbortController();
  let frames = [];
  let playing = 0;

  const end = (key, point) => go({ [key]: write(point) }, { replace: true });
  const at = (position) => pointBetween(a, b, Math.round(position) / LAST);

  async function lay() {
    control.abort();
    control = new AbortController();
    const { signal } = control;
    const [own, queue] = [[], order(Math.round(share.value))];
    const fetchSome = async () => {
      while (queue.length) {
        const frame = queue.shift();
        const img = await grow(picture(at(frame), LIGHT), { signal });
        if (own.length === 0) stage.replaceChildren();
        frames = own;
        frames[frame] = img;
        img.style.zIndex = frame;
        stage.append(img);
        draw();
      }
    };
    stage.classList.remove("failed");
    stage.title = "";
    if (!at(LAST / 2)) {
      frames = [];
      stage.replaceChildren();
      fail(`These are of more than ${PARTS_MAX} seeds together, and an address holds no more.`);
      return;
    }
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, fetchSome));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof RefusalError)) throw error;
      fail(error.message);
    }
  }

  function fail(why) {
    stage.classList.add("failed");
    stage.title = why;
    say(why);
  }

  /** Lays the frame after the position over the one before it, the more opaque the nearer it is. */
  function draw() {
    const position = Number(share.value);
    const there = Object.keys(frames).map(Number);
    const before = there.findLast((frame) => frame <= position) ?? there[0];
    const after = there.find((frame) => frame >= position) ?? before;
    for (const frame of there) frames[frame].style.opacity = Number(frame === before);
    if (after > before) frames[after].style.opacity = (position - before) / (after - before);
  }

  function move(position) {
    share.value = Math.min(LAST, Math.max(0, position));
    share.ariaValueText = `${Math.round((100 * share.value) / LAST)} %`;
    draw();
    const point = at(share.value);
    if (!point) return;
    caption_(point);
    stage.ariaLabel = label(point);
  }

  const settle = () => go({ t: `${Math.round(share.value) / LAST}` }, { replace: true });

  function run(started, from, to) {
    playing = requestAnimationFrame((now) => {
      const x = Math.min(1, (now - started) / LENGTH_MS);
      move(from + (to - from) * x * x * (3 - 2 * x));
      if (x < 1) run(started, from, to);
      else run(now, to, LAST - to);
    });
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    drawPlay();
  }

  function drawPlay() {
    play.replaceChildren(icon(playing ? "pause" : "play"));
    play.ariaLabel = playing ? "Stop" : "Go to and fro";
  }

  play.addEventListener("click", () => {
    if (playing) {
      stop();
      settle();
    } else {
      const from = Number(share.value);
      run(performance.now(), from, from < LAST / 2 ? LAST : 0);
      drawPlay();
    }
  });
  drawPlay();
  share.addEventListener("pointerdown", stop);
  share.addEventListener("input", () => move(share.value));
  share.addEventListener("change", settle);
  share.addEventListener("keydown", (event) => {
    const by = onwards(event, share) || { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!by) return;
    event.preventDefault(); // the browser's own step knows nothing of frames
    stop();
    move(Math.round(share.value) + by);
    settle();
  });
  drag(stage, () => (stop(), Number(share.value)), (start, dx) => move(start + LAST * dx), settle);

  return (state) => {
    [a, b] = [read(state.a) ?? plain("alice"), read(state.b) ?? plain("bob")];
    ends.a.set(a);
    ends.b.set(b);
    const wanted = [write(a), write(b), state.model].join("→");
    if (!playing) move(LAST * (state.t || 0.5));
    if (wanted === way || state.view !== "between") return;
    way = wanted;
    lay();
    animations(a, b);
  };
}

/** Returns every frame once: the one that is looked at, then the ends, and so on by halves. */
function order(first) {
  const frames = new Set([first]);
  for (let stride = LAST; stride >= 1; stride /= 2) for (let k = 0; k <= LAST; k += stride) frames.add(k);
  return [...frames];
}

/** Calls `moved` with what `begun` returned and the share of the width by which a finger has gone on. */
function drag(element, begun, moved, ended) {
  let start;
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    start = { x: event.clientX, value: begun() };
  });
  element.addEventListener("pointermove", (event) => {
    if (!start) return;
    const sign = getComputedStyle(element).direction === "rtl" ? -1 : 1;
    moved(start.value, (sign * (event.clientX - start.x)) / element.clientWidth);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, () => {
      if (start) ended();
      start = undefined;
    });
  }
}

/** Links to the whole way as one file, where the service has an address for it. */
function animations(a, b) {
  const line = $("#animations");
  line.replaceChildren();
  if (!isPlain(a) || !isPlain(b)) return;
  const kinds = { "Animated WebP": "webp", GIF: "gif", "Animated PNG": "apng", "Film strip": "strip" };
  for (const [words, format] of Object.entries(kinds)) {
    const steps = format === "strip" ? 8 : LAST;
    const loop = format !== "strip" || undefined;
    const href = path(label(a), label(b), { steps, loop, format });
    line.append(h("a", { href, download: "", className: "button" }, icon("load"), words));
  }
}
