// Elements, made and found.

export const $ = (selector, root = document) => root.querySelector(selector);

/** Returns a new element with the given properties and children. */
export function h(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Returns a drawing from the sprite in the page. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Returns a button: of a drawing and words, or of a drawing alone that says the words when asked. */
export function button(name, words, onclick, { bare = false } = {}) {
  const properties = bare ? { className: "quiet", ariaLabel: words, title: words } : {};
  return h("button", { type: "button", onclick, ...properties }, icon(name), ...(bare ? [] : [words]));
}

/** Tells those who listen to the page what others see. */
export function say(text) {
  $("#said").textContent = text;
}
