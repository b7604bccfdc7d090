// The service's addresses, relative to the page: it may live under any path.

import { state } from "./state.js";

/** How the page itself shows pictures: a tenth of a PNG's bytes, and nobody sees the difference. */
export const LIGHT = { format: "webp" };

/** Encodes a seed for an address, so that it also survives a shell's quotes and Markdown's brackets. */
export function quote(seed) {
  const encoded = encodeURIComponent(seed.toWellFormed()).replaceAll("%40", "@");
  return encoded.replace(/['()*!]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);
}

/**
 * Returns the address of a picture of the chosen model.
 *
 * @param point Where it is (point.js).
 * @param look `format`, `size` and `shape`; what is empty or missing is the default.
 */
export function picture({ parts, to, t }, { format, ...look } = {}) {
  const [[seed], ...others] = parts;
  const weights = parts.map(([, weight]) => weight);
  const pairs = others.map(([other]) => ["with", other]);
  if (to !== undefined) pairs.push(["to", to], ["t", t]);
  if (weights.some((weight) => weight !== weights[0])) pairs.push(["weights", weights]);
  return `images/${quote(seed)}.${format || "png"}${query([...pairs, ...Object.entries(look)])}`;
}

/** Returns the address of the whole way from one seed to another. */
export function path(from, to, options) {
  return `interpolate${query([["from", from], ["to", to], ...Object.entries(options)])}`;
}

/** Returns an address as others may use it. */
export const absolute = (address) => new URL(address, document.baseURI).href;

function query(pairs) {
  const all = [...pairs, ["model", decodeURIComponent(state.model ?? "")]];
  const given = all.filter(([, value]) => value !== undefined && value !== "");
  const texts = given.map(([name, value]) => `${name}=${[value].flat().map((one) => quote(`${one}`)).join(",")}`);
  return texts.length ? `?${texts.join("&")}` : "";
}
