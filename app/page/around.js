// Around a picture: its neighbours, and theirs when one steps to them.

import { LIGHT, picture } from "./address.js";
import { caption } from "./caption.js";
import { open } from "./dialog.js";
import { $, h } from "./dom.js";
import { hold, rove } from "./keys.js";
import { show } from "./picture.js";
import { directions, label, plain, read, step, write } from "./point.js";
import { slot } from "./slot.js";
import { go } from "./state.js";

const NEIGHBOURS = 8;
const CENTRE = 4; // of nine, in reading order

/** Sets up the view, and returns what shows a state of it. */
export function around() {
  const [ring, far] = [$("#ring"), $("#far")];
  const describe = caption($("#around-caption"));
  const start = slot("Start", (point) => go({ at: write(point), turn: "" }));
  $("#start").append(start.element);
  let centre;
  let turn;

  const cells = Array.from({ length: NEIGHBOURS + 1 }, (_, k) => {
    const cell = h("button", { type: "button", className: "frame", tabIndex: -1 });
    cell.addEventListener("click", () => {
      if (k === CENTRE) open(centre);
      else go({ at: cell.value, turn: `${turn + NEIGHBOURS}` });
    });
    return cell;
  });
  ring.append(...cells);
  rove(ring, "button");
  hold(ring, "button", cells[CENTRE]);

  far.addEventListener("input", () => go({ far: far.value }, { replace: true }));
  $("#turn").addEventListener("click", () => go({ turn: `${turn + NEIGHBOURS}` }, { replace: true }));
  $("#undo").addEventListener("click", () => {
    // A step added the last part; without it the point is where it was.
    go({ at: write({ parts: centre.parts.slice(0, -1) }), turn: `${Math.max(1, turn - NEIGHBOURS)}` });
  });

  return (state) => {
    if (state.view !== "around") return;
    centre = read(state.at) ?? plain("alice");
    turn = Number(state.turn) || 1;
    far.value = state.far || 0.4;
    start.set(centre);
    describe(centre);
    $("#undo").disabled = centre.parts.length < 2;
    const seeds = directions(centre, turn, NEIGHBOURS);
    seeds.splice(CENTRE, 0, undefined);
    cells.forEach((cell, k) => {
      const point = k === CENTRE ? centre : step(centre, seeds[k], Number(far.value));
      cell.value = write(point);
      cell.ariaLabel = k === CENTRE ? `Open ${label(centre)}` : `Step towards ${seeds[k]}`;
      show(cell, picture(point, LIGHT));
    });
  };
}
