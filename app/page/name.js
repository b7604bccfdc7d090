// A name, and its face at once.

import { LIGHT, absolute, picture, quote } from "./address.js";
import { copyButton } from "./copy.js";
import { open } from "./dialog.js";
import { $, h } from "./dom.js";
import { show } from "./picture.js";
import { plain } from "./point.js";
import { go } from "./state.js";

const PAUSE_MS = 90;

/** Sets up the field, and returns what shows a state of it. */
export function name() {
  const field = $("#name");
  const code = h("code");
  const point = () => plain(field.value || field.placeholder);
  let pause;

  $("#name-address").append(code, copyButton(() => code.textContent, "Copy the address", { bare: true }));
  field.addEventListener("input", () => {
    write();
    clearTimeout(pause);
    pause = setTimeout(() => go({ name: quote(field.value) }, { replace: true }), PAUSE_MS);
  });
  field.addEventListener("keydown", ({ key, isComposing }) => {
    if (key === "Enter" && !isComposing) open(point());
  });
  $("#face").addEventListener("click", () => open(point()));

  function write() {
    code.textContent = absolute(picture(point()));
  }

  return (state) => {
    if (document.activeElement !== field) field.value = decodeURIComponent(state.name ?? "");
    write();
    show($("#face"), picture(point(), LIGHT));
  };
}
