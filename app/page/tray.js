// The tray: pictures that somebody keeps, in the browser and in the page's address.

import { LIGHT, picture } from "./address.js";
import { copyButton } from "./copy.js";
import { open } from "./dialog.js";
import { $, button, h, say } from "./dom.js";
import { hold, rove } from "./keys.js";
import { show } from "./picture.js";
import { label, read, write } from "./point.js";
import { place } from "./slot.js";
import { go, state, subscribe } from "./state.js";

const STORE = "seedling.kept";
const KEPT_MAX = 32; // an address with more would be too long for some who pass it on

const list = () => (state.keep || "").split(";").filter(Boolean);

/** Tells whether a point, as point.js writes it, is in the tray. */
export const isKept = (text) => list().includes(text);

/** Puts a point into the tray, or takes it out. */
export function toggle(point) {
  const text = write(point);
  const kept = isKept(text) ? list().filter((other) => other !== text) : [...list(), text];
  if (kept.length > KEPT_MAX) {
    say(`The tray is full: it holds ${KEPT_MAX} pictures.`);
    return;
  }
  go({ keep: remember(kept) }, { replace: true });
}

/** Adds the pictures of an address to those in the browser, for which there is room; none of these is lost by a link. */
export function adopt(text) {
  const kept = new Set(`${stored()};${text ?? ""}`.split(";").filter(read));
  if (kept.size > KEPT_MAX) say("The tray is full: not all pictures of the link are in it.");
  return remember([...kept].slice(0, KEPT_MAX));
}

/** Returns a button that keeps what `point` returns, and shows whether it is kept. */
export function keepButton(point, options) {
  const keep = button("heart", "Keep", () => toggle(point()), options);
  subscribe(() => {
    keep.ariaPressed = Boolean(point()) && isKept(write(point()));
  });
  return keep;
}

/** Sets up the tray. */
export function tray() {
  const [thumbs, actions] = [$("#kept"), $("#tray-actions")];
  const several = [
    button("on", "Between", () => go({ view: "between", a: list().at(-2), b: list().at(-1), t: "" })),
    button("plus", "Mix", () => go({ view: "mix", of: list().slice(-8).join(";"), weights: "", mutation: "" })),
  ];
  actions.append(...several, copyButton(() => location.href, "Copy a link to these", { bare: true }));
  rove(thumbs, "button");

  subscribe(() => {
    const texts = list();
    $("#tray").hidden = texts.length === 0;
    for (const one of several) one.hidden = texts.length < 2;
    const before = [...thumbs.children];
    if (before.map((item) => item.dataset.point).join(";") !== texts.join(";")) {
      const focused = before.findIndex((item) => item.contains(document.activeElement));
      const there = new Map(before.map((item) => [item.dataset.point, item]));
      thumbs.replaceChildren(...texts.map((text) => there.get(text) ?? thumb(text)));
      // What was moved, or took the place of what was removed, keeps the focus.
      if (focused >= 0) thumbs.children[Math.min(focused, texts.length - 1)]?.firstChild.focus();
    }
    for (const item of thumbs.children) show(item.firstChild, picture(read(item.dataset.point), LIGHT));
    hold(thumbs, "button");
  });
}

function thumb(text) {
  const point = read(text);
  const face = h("button", { type: "button", className: "frame", tabIndex: -1, ariaLabel: label(point) });
  face.addEventListener("click", () => place(point) || open(point, list()));
  face.addEventListener("keydown", ({ key }) => (key === "k" || key === "Delete") && toggle(point));
  const item = h("li", {}, face);
  item.dataset.point = text;
  return item;
}

function stored() {
  try {
    return localStorage.getItem(STORE) ?? "";
  } catch {
    return ""; // storage may be forbidden; the address still holds the tray
  }
}

function remember(kept) {
  const text = kept.join(";");
  try {
    localStorage.setItem(STORE, text);
  } catch {
    // As above.
  }
  return text;
}
