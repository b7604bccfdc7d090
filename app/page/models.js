// Which model grows the pictures, where there is a choice.

import { $, h } from "./dom.js";
import { models as list } from "./service.js";
import { go, state } from "./state.js";

const SIDE = 128; // the product's own, for as long as the service has not said
let served = [];

const chosen = () => served.find((model) => model.id === decodeURIComponent(state.model ?? "")) ?? served[0];

/** Returns the side of the chosen model's pictures, in pixels. */
export const resolution = () => chosen()?.spec.img_resolution ?? SIDE;

/** Sets up the choice, and returns what shows a state of it. */
export function models() {
  const choice = $("#model");
  choice.addEventListener("change", () => {
    const first = choice.selectedIndex === 0; // the default needs no name
    go({ model: first ? "" : encodeURIComponent(choice.value) });
  });

  function draw() {
    const model = chosen();
    if (!model) return;
    choice.value = model.id;
    $("#card").textContent = `${model.id}: ${model.spec.img_resolution} × ${model.spec.img_resolution} pixels, `
      + `learnt from ${model.data.pictures ?? "some"} pictures of ${model.data.name ?? "a folder"}.`;
  }

  list().then((found) => {
    served = found.filter(({ status }) => status === "ready");
    choice.replaceChildren(...served.map(({ id }) => h("option", { value: id, textContent: id })));
    choice.hidden = served.length < 2;
    draw();
  });
  return draw;
}
