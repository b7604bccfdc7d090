"use strict";
const frames = [...document.querySelectorAll("#frames img")];
const when = document.getElementById("when");
const play = document.getElementById("play");
let timer = 0;

function show() {
  const chosen = Number(when.value);
  frames.forEach((frame, k) => { frame.hidden = k !== chosen; });
  const caption = frames[chosen].dataset.caption;
  document.getElementById("caption").textContent = caption;
  when.setAttribute("aria-valuetext", caption);
}

function stop() {
  clearInterval(timer);
  timer = 0;
  play.textContent = "Play";
}

function start() {
  if (when.value === when.max) when.value = 0;
  show();
  play.textContent = "Stop";
  timer = setInterval(() => {
    when.value = Number(when.value) + 1;
    show();
    if (when.value === when.max) stop();
  }, 250);
}

if (when) {
  when.addEventListener("input", () => { stop(); show(); });
  play.addEventListener("click", () => timer ? stop() : start());
  show();
}
