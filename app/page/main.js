// The page: its views are set up, and show what the address says.

import { around } from "./around.js";
import { between } from "./between.js";
import { dialog } from "./dialog.js";
import { $ } from "./dom.js";
import { mix } from "./mix.js";
import { models } from "./models.js";
import { name } from "./name.js";
import { go, start, subscribe } from "./state.js";
import { adopt, tray } from "./tray.js";
import { wall } from "./wall.js";

const help = $("#help");

/** Shows the view of a state, and marks it in the menu. */
function turnTo({ view }) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `view-${view}`;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === view) link.ariaCurrent = "page";
    else link.removeAttribute("aria-current");
  }
}

for (const link of document.querySelectorAll("[data-view]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    go({ view: link.dataset.view });
    scrollTo(0, 0);
  });
}

$("#ask").addEventListener("click", () => help.showModal());
$("#help-close").addEventListener("click", () => help.close());
help.addEventListener("click", ({ target }) => target === help && help.close());

addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if ($("dialog[open]")) return;
  if (event.key === "?") help.showModal();
  if (event.key !== "/") return;
  event.preventDefault();
  go({ view: "wall" });
  $("#name").select();
});

subscribe(turnTo);
for (const view of [models(), name(), wall(), between(), around(), mix(), dialog()]) subscribe(view);
tray();
start(adopt);
