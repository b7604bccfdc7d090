// The wall: the pictures of one number after the other, for as long as somebody scrolls.

import { LIGHT, picture, quote } from "./address.js";
import { $, button, h } from "./dom.js";
import { hold, rove } from "./keys.js";
import { open } from "./dialog.js";
import { cancel, show } from "./picture.js";
import { plain } from "./point.js";
import { go } from "./state.js";
import { isKept, toggle } from "./tray.js";

const BATCH = 60;
const SEEDS = 2n ** 64n;
const TILE = ".tile";

/** Sets up the wall, and returns what shows a state of it. */
export function wall() {
  const [tiles, more] = [$("#tiles"), $("#more")];
  let built = "";
  let from = 0n;

  // Only what is near the screen is asked for, and what was scrolled past before it came is given up.
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) show(target, picture(plain(target.value), LIGHT));
      else cancel(target);
    }
  }, { rootMargin: "300px 0px" });
  const growth = new IntersectionObserver(([end]) => end.isIntersecting && extend(), { rootMargin: "900px 0px" });

  function extend(count = BATCH) {
    const first = BigInt(tiles.children.length) + from;
    tiles.append(...Array.from({ length: count }, (_, k) => tile(`${(first + BigInt(k)) % SEEDS}`)));
    hold(tiles, TILE);
    growth.unobserve(more); // observed anew, it tells at once whether more is wanted
    growth.observe(more);
  }

  function tile(seed) {
    const face = h("button", { type: "button", className: "tile frame", value: seed, tabIndex: -1 });
    face.ariaLabel = seed;
    near.observe(face);
    const keep = button("heart", `Keep ${seed}`, () => toggle(plain(seed)), { bare: true });
    keep.tabIndex = -1; // by keyboard it is K on the picture
    keep.value = seed;
    keep.ariaPressed = isKept(quote(seed));
    return h("li", {}, face, keep);
  }

  tiles.addEventListener("click", ({ target }) => {
    const face = target.closest(TILE);
    if (face) open(plain(face.value));
  });
  tiles.addEventListener("keydown", (event) => {
    if (event.key === "k" && event.target.matches(TILE)) toggle(plain(event.target.value));
  });
  rove(tiles, TILE);
  $("#shuffle").addEventListener("click", () => {
    go({ from: `${crypto.getRandomValues(new Uint32Array(1))[0]}` });
  });
  addEventListener("pagehide", () => {
    history.replaceState({ ...history.state, tiles: tiles.children.length }, ""); // so that a reload scrolls to here
  });

  return (state) => {
    from = /^\d{1,20}$/.test(state.from) ? BigInt(state.from) % SEEDS : 0n;
    const wanted = `${from} ${state.model ?? ""}`;
    if (wanted !== built) {
      $("#wall-from").textContent = `from ${from} on`;
      near.disconnect();
      tiles.replaceChildren();
      extend(built ? BATCH : history.state?.tiles);
      built = wanted;
    }
    for (const keep of tiles.querySelectorAll("button.quiet")) keep.ariaPressed = isKept(quote(keep.value));
  };
}
