// A button that copies a text.

import { button, icon, say } from "./dom.js";

/** Returns a button that copies what `text` returns, and says so. */
export function copyButton(text, words, options) {
  const copied = button("copy", words, async () => {
    await copy(text(), copied);
    say("Copied");
    copied.firstChild.replaceWith(icon("check"));
    setTimeout(() => copied.firstChild.replaceWith(icon("copy")), 1500);
  }, options);
  return copied;
}

async function copy(text, near) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // A page that came over plain HTTP has no clipboard but this one, and only of what is selected.
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  near.after(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  near.focus();
  return undefined;
}
