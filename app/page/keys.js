// Getting about by keyboard.

const MOVES = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last" };

/** Tells which way an arrow points in the reading direction of an element: +1 on, -1 back, 0 neither. */
export function onwards(event, element) {
  const sign = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
  return getComputedStyle(element).direction === "rtl" ? -sign : sign;
}

/** Makes a group one stop of the Tab key: the arrow keys go from item to item, as they lie on the screen. */
export function rove(group, selector) {
  group.addEventListener("focusin", ({ target }) => {
    const item = target.closest(selector);
    if (item) hold(group, selector, item);
  });
  group.addEventListener("keydown", (event) => {
    const items = [...group.querySelectorAll(selector)];
    const at = items.indexOf(event.target.closest(selector));
    if (at < 0 || !(event.key in MOVES) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const to = items[target(event, items, at)];
    to?.focus();
    to?.scrollIntoView({ block: "nearest" });
  });
}

/** Makes an item the one that Tab comes to; without one, the first, where there is none yet. */
export function hold(group, selector, item) {
  const held = group.querySelector(`${selector}[tabindex="0"]`);
  if (held && !item) return;
  if (held) held.tabIndex = -1;
  const next = item ?? group.querySelector(selector);
  if (next) next.tabIndex = 0;
}

function target(event, items, at) {
  const top = (item) => Math.round(item.getBoundingClientRect().top);
  const columns = items.filter((item) => top(item) === top(items[0])).length;
  const move = MOVES[event.key];
  if (move === "first") return 0;
  if (move === "last") return items.length - 1;
  return at + (onwards(event, items[at]) || (move === "up" ? -columns : columns));
}
