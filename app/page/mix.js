// Mix pictures: parents, how much of each, and a mutation.

import { LIGHT, picture } from "./address.js";
import { caption } from "./caption.js";
import { open } from "./dialog.js";
import { $, button, h } from "./dom.js";
import { cancel, show } from "./picture.js";
import { PARTS_MAX, blend, directions, label, plain, read, step, write } from "./point.js";
import { slot } from "./slot.js";
import { go } from "./state.js";

const PARENTS_MAX = 8;
const NEWCOMERS = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
const HALF = 5; // of 10, so that a parent can have more and less

/** Sets up the view, and returns what shows a state of it. */
export function mix() {
  const [child, mutation] = [$("#child"), $("#mutation")];
  const describe = caption($("#mix-caption"));
  let points = [];
  let weights = [];
  let rows = [];
  let turn;
  let born;

  function breed(nextPoints, nextWeights) {
    go({ of: nextPoints.map(write).join(";"), weights: nextWeights.join(",") }, { replace: true });
  }

  function row(k) {
    const parent = slot(`Parent ${k + 1}`, (point) => breed(points.with(k, point), weights));
    const weight = h("input", { type: "range", min: 0, max: 2 * HALF, ariaLabel: `How much of parent ${k + 1}` });
    weight.addEventListener("input", () => breed(points, weights.with(k, Number(weight.value))));
    const remove = button("close", `Without parent ${k + 1}`, () => {
      breed(points.toSpliced(k, 1), weights.toSpliced(k, 1));
    }, { bare: true });
    return { element: h("div", { className: "parent" }, parent.element, weight, remove), parent, weight, remove };
  }

  child.addEventListener("click", () => born && open(born));
  $("#add").addEventListener("click", () => {
    const newcomer = NEWCOMERS.map(plain).find((point) => !points.some((other) => write(other) === write(point)));
    breed([...points, newcomer], [...weights, HALF]);
  });
  mutation.addEventListener("input", () => go({ mutation: mutation.value }, { replace: true }));
  $("#mutate").addEventListener("click", () => {
    go({ mutation: Number(mutation.value) ? mutation.value : "0.4", turn: `${turn + 1}` }, { replace: true });
  });

  return (state) => {
    if (state.view !== "mix") return;
    points = (state.of ?? "").split(";").map(read).filter(Boolean).slice(0, PARENTS_MAX);
    while (points.length < 2) points.push(plain(NEWCOMERS[points.length]));
    const given = (state.weights || "").split(",").map(Number);
    weights = points.map((_, k) => (state.weights && given[k] >= 0 ? given[k] : HALF));
    mutation.value = state.mutation || 0;
    turn = Number(state.turn) || 1;

    if (rows.length !== points.length) {
      rows = points.map((_, k) => row(k));
      $("#parents").replaceChildren(...rows.map(({ element }) => element));
    }
    rows.forEach(({ parent, weight, remove }, k) => {
      parent.set(points[k]);
      weight.value = weights[k];
      remove.hidden = rows.length === 2;
    });
    $("#add").disabled = points.length === PARENTS_MAX;
    bear();
  };

  function bear() {
    born = blend(points, weights);
    if (born && Number(mutation.value)) {
      born = step(born, directions(born, turn, 1)[0], Number(mutation.value));
    }
    $("#mix-problem").textContent = born ? "" : problem();
    if (!born) return cancel(child);
    describe(born);
    child.ariaLabel = `Open ${label(born)}`;
    return show(child, picture(born, LIGHT));
  }

  function problem() {
    if (weights.every((weight) => !weight)) return "Nothing is left: give one of the parents some weight.";
    return `These are of more than ${PARTS_MAX} seeds together, and an address holds no more: take one out.`;
  }
}
