// A picture by itself: large, with its address in every form, and ways to go on.

import { LIGHT, absolute, picture } from "./address.js";
import { copyButton } from "./copy.js";
import { $, button, h, icon } from "./dom.js";
import { onwards } from "./keys.js";
import { show } from "./picture.js";
import { isPlain, label, plain, read, write } from "./point.js";
import { resolution } from "./models.js";
import { fileName, snippets } from "./snippets.js";
import { close, go, state } from "./state.js";
import { keepButton, toggle } from "./tray.js";

const SIZES = [32, 64, 96, 256, 512, 1024];
const LARGE = 512;
const SWIPE = 50; // pixels: less is a finger that trembles

let siblings;

/** Opens the dialog with a point; the arrow keys then go through the list, of points as point.js writes them. */
export function open(point, list) {
  siblings = list;
  go({ open: write(point) }, { replace: Boolean(state.open) });
}

/** Sets up the dialog, and returns what shows a state of it. */
export function dialog() {
  const [box, look] = [$("#picture"), $("#look")];
  let point;

  const elsewhere = (change) => go({ ...change, open: "" });
  const download = h("a", { className: "button", download: "" }, icon("load"), "Download");
  $("#picture-keep").append(keepButton(() => point, { bare: true }));
  $("#picture-actions").append(
    download,
    button("on", "Between", () => elsewhere({ view: "between", a: write(point), t: "" })),
    button("dice", "Around", () => elsewhere({ view: "around", at: write(point), turn: "" })),
    button("plus", "Mix", () => elsewhere({ view: "mix", of: write(point), weights: "", mutation: "" })),
  );

  const beside = (by) => neighbour(point, by);
  const turn = (by) => beside(by) && open(beside(by), siblings);
  $("#previous").addEventListener("click", () => turn(-1));
  $("#next").addEventListener("click", () => turn(1));
  $("#picture-close").addEventListener("click", close);
  box.addEventListener("cancel", (event) => {
    event.preventDefault(); // the state closes it
    close();
  });
  box.addEventListener("click", ({ target }) => target === box && close());
  box.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select")) return;
    if (onwards(event, box)) turn(onwards(event, box));
    if (event.key === "k") toggle(point);
  });
  swipe($("#large"), turn);
  look.elements.size.append(
    new Option("The model's own", ""),
    ...SIZES.map((size) => new Option(`${size} pixels`, size)),
  );
  look.addEventListener("change", () => {
    const { shape, size, format } = Object.fromEntries(new FormData(look));
    go({ shape, size, format }, { replace: true });
  });

  function describe() {
    const look_ = { format: state.format, size: state.size, shape: state.shape };
    const address = picture(point, look_);
    const name = label(point);
    $("#picture-title").textContent = name;
    $("#previous").hidden = $("#next").hidden = !beside(1) && !beside(-1);
    show($("#large"), picture(point, { ...LIGHT, size: LARGE, shape: state.shape }), name);
    Object.assign(download, { href: address, download: fileName(name, state.format) });
    fill(snippets(address, { name: fileName(name, state.format), title: name, side: state.size || resolution() }));
    tellForEver(address);
  }

  return () => {
    point = read(state.open);
    if (!point) {
      box.close();
      return;
    }
    for (const name of ["size", "format"]) look.elements[name].value = state[name] ?? "";
    for (const radio of look.elements.shape) radio.checked = radio.value === (state.shape ?? "");
    describe();
    if (!box.open) box.showModal();
  };
}

/** Returns the point before or after: of the list that the dialog was opened with, or the number beside. */
function neighbour(point, by) {
  if (siblings) return read(siblings[siblings.indexOf(write(point)) + by]);
  const seed = isPlain(point) && /^\d{1,20}$/.test(label(point)) ? BigInt(label(point)) + BigInt(by) : -1n;
  return seed >= 0n && seed < 2n ** 64n ? plain(`${seed}`) : undefined;
}

function fill(texts) {
  const rows = Object.entries(texts).map(([name, text]) => [
    h("dt", { textContent: name }),
    h("dd", {}, h("code", { textContent: text }), copyButton(() => text, `Copy ${name}`, { bare: true })),
  ]);
  $("#snippets").replaceChildren(...rows.flat());
}

let asked;

/** Adds the address under the model's edition, which the service tells without growing anything. */
async function tellForEver(address) {
  asked = address;
  const answer = await fetch(address, { method: "HEAD" }).catch(() => undefined);
  const lasting = answer?.headers.get("Content-Location");
  if (!lasting || asked !== address) return;
  const text = absolute(lasting.replace(/^\//, ""));
  $("#snippets").append(
    h("dt", { textContent: "For ever" }),
    h("dd", {}, h("code", { textContent: text }), copyButton(() => text, "Copy the address for ever", { bare: true })),
  );
}

/** Calls `turn` with the way that a finger goes across an element. */
function swipe(element, turn) {
  let start;
  element.addEventListener("pointerdown", ({ clientX }) => (start = clientX));
  element.addEventListener("pointerup", ({ clientX }) => {
    const by = clientX - start;
    const sign = getComputedStyle(element).direction === "rtl" ? -1 : 1;
    if (Math.abs(by) > SWIPE) turn(by * sign < 0 ? 1 : -1);
  });
}
