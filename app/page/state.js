// What the page shows, all of it in the address after the #, so that a link shows the same.
//
// Values are texts that need no more encoding, as point.js writes them.

const OWN = {
  wall: ["from", "name"],
  between: ["a", "b", "t"],
  around: ["at", "far", "turn"],
  mix: ["of", "weights", "mutation", "turn"],
};
const OF_DIALOG = ["open", "shape", "size", "format"];
const EVERYWHERE = ["model", "keep"];
const TEXTS = ["name", "model"]; // what point.js does not read

export const state = { view: "wall" };
const listeners = [];

/** Has a function called with the state now and whenever it changes. */
export function subscribe(listener) {
  listeners.push(listener);
}

/** Changes the state; `replace` where "back" should not lead to what was before. */
export function go(change, { replace = false } = {}) {
  Object.assign(state, change);
  const address = write();
  const opened = replace ? history.state?.opened : Boolean(change.open);
  if (replace || address === location.hash) history.replaceState({ opened }, "", address);
  else history.pushState({ opened }, "", address);
  tell();
}

/** Closes the dialog: back to where it was opened, or nowhere where the page was entered by it. */
export function close() {
  if (history.state?.opened) history.back();
  else go({ open: "" }, { replace: true });
}

/** Reads the address; `adopt` gets the pictures kept in one that we did not write. */
export function start(adopt) {
  read();
  state.keep = adopt(state.keep);
  history.replaceState(history.state ?? {}, "", write());
  addEventListener("popstate", () => {
    const kept = state.keep;
    read();
    state.keep = history.state ? kept : adopt(state.keep);
    history.replaceState(history.state ?? {}, "", write());
    tell();
  });
  tell();
}

function keys() {
  return [...OWN[state.view], ...(state.open ? OF_DIALOG : []), ...EVERYWHERE];
}

function write() {
  const pairs = keys().filter((key) => state[key]).map((key) => `${key}=${state[key]}`);
  return `#${state.view}${pairs.length ? `?${pairs.join("&")}` : ""}`;
}

function read() {
  const [view, rest = ""] = location.hash.slice(1).split(/\?(.*)/s);
  state.view = Object.hasOwn(OWN, view) ? view : "wall";
  for (const key of [...keys(), ...OF_DIALOG]) delete state[key];
  for (const pair of rest.split("&")) {
    const [key, value] = pair.split(/=(.*)/s);
    if (TEXTS.includes(key) && !decodes(value)) continue;
    if ([...keys(), ...OF_DIALOG].includes(key)) state[key] = value;
  }
}

/** Tells whether every percent sign encodes something: a link may have been cut. */
function decodes(value) {
  try {
    decodeURIComponent(value);
    return true;
  } catch {
    return false;
  }
}

function tell() {
  for (const listener of listeners) listener(state);
}
