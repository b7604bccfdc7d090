// A place for a picture: one writes a name, throws the dice, or takes it from the tray.

import { LIGHT, picture } from "./address.js";
import { open } from "./dialog.js";
import { button, h } from "./dom.js";
import { show } from "./picture.js";
import { isPlain, label, plain } from "./point.js";

const PAUSE_MS = 200;
const slots = new WeakMap(); // element → what is called with a new point

/** Returns a slot: its element, and what shows a point in it. */
export function slot(words, changed) {
  let point;
  let pause;
  const face = h("button", { type: "button", className: "frame", ariaLabel: `Open ${words}` });
  const field = h("input", { type: "text", ariaLabel: words, maxLength: 256, autocomplete: "off", spellcheck: false });
  field.autocapitalize = "off";
  const dice = button("dice", "A picture at random", () => changed(plain(random())), { bare: true });
  const element = h("div", { className: "slot" }, face, field, dice);

  slots.set(element, changed);
  element.addEventListener("focusin", () => mark(element));
  face.addEventListener("click", () => open(point));
  field.addEventListener("input", () => {
    clearTimeout(pause);
    if (field.value) pause = setTimeout(() => changed(plain(field.value)), PAUSE_MS);
  });

  return {
    element,
    set(next) {
      point = next;
      // What has no one name can be replaced by a name, and is what an empty field stands for.
      field.placeholder = label(point);
      if (document.activeElement !== field) field.value = isPlain(point) ? label(point) : "";
      show(face, picture(point, LIGHT));
    },
  };
}

/** Puts a point into the marked slot of what is on the screen; tells whether there is one. */
export function place(point) {
  const there = [...document.querySelectorAll("section:not([hidden]) .slot")];
  if (there.length === 0) return false;
  const at = Math.max(0, there.findIndex((element) => element.classList.contains("marked")));
  slots.get(there[at])(point);
  mark(there[(at + 1) % there.length]);
  return true;
}

function mark(element) {
  for (const other of document.querySelectorAll(".slot.marked")) other.classList.remove("marked");
  element.classList.add("marked");
}

const random = () => `${crypto.getRandomValues(new Uint32Array(1))[0]}`;
