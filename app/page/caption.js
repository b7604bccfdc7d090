// What stands under a picture: what it is called, its address, and a button that keeps it.

import { absolute, picture } from "./address.js";
import { copyButton } from "./copy.js";
import { open } from "./dialog.js";
import { button, h } from "./dom.js";
import { label } from "./point.js";
import { keepButton } from "./tray.js";

/** Fills an element with a caption, and returns what shows a point in it. */
export function caption(root) {
  let point;
  const name = h("strong");
  const code = h("code");
  const copied = copyButton(() => code.textContent, "Copy the address", { bare: true });
  root.append(
    h("p", { className: "title" }, name, keepButton(() => point), button("on", "Open", () => open(point))),
    h("p", { className: "address" }, code, copied),
  );
  return (next) => {
    point = next;
    name.textContent = label(point);
    code.textContent = absolute(picture(point));
  };
}
