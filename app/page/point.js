// A point is where in latent space a picture is: a mix of seeds, or a place between two.
//
//   { parts: [[seed, weight], …] }             `with` and `weights` of an address; mostly one part of weight 1
//   { parts: [[seed, 1]], to: seed, t: share } `to` and `t`
//
// A step to a neighbour is a mix too. The service's own `radius` and `variant` lead to a neighbour once, for
// what is there has no seed to go on from; a mix can be mixed again, so that one can walk, and breed a child's
// child, and every stop has an address.

import { quote } from "./address.js";

/** Most seeds that an address may mix. */
export const PARTS_MAX = 16;

export const plain = (seed) => ({ parts: [[seed, 1]] });
export const isPlain = (point) => point.parts.length === 1 && point.to === undefined;
const length = (parts) => Math.hypot(...parts.map(([, weight]) => weight));

// --- In the page's address ---------------------------------------------------------------------------

/** Writes a point as `seed:weight,seed:weight` or `seed/seed/share`, for the page's own address. */
export function write({ parts, to, t }) {
  const seeds = parts.map(([seed, weight]) => (weight === 1 ? quote(seed) : `${quote(seed)}:${weight}`));
  return seeds.join(",") + (to === undefined ? "" : `/${quote(to)}/${t}`);
}

/** Reads what `write` wrote; undefined if it is none of that. */
export function read(text) {
  try {
    const [seeds, to, t] = (text ?? "").split("/");
    const parts = seeds.split(",").map((part) => {
      const [seed, weight = 1] = part.split(":");
      return [decodeURIComponent(seed), Number(weight)];
    });
    const fits = parts.length <= PARTS_MAX && parts.every(([seed, weight]) => seed && weight > 0);
    if (!fits || !Number.isFinite(length(parts))) return undefined;
    if (to === undefined) return { parts };
    return to && t >= 0 && t <= 1 ? { parts: [[parts[0][0], 1]], to: decodeURIComponent(to), t: Number(t) } : undefined;
  } catch {
    return undefined; // a percent sign that encodes nothing
  }
}

/** Returns what a person calls the point. */
export function label({ parts, to, t }) {
  if (to !== undefined) return `${parts[0][0]} → ${to}, ${Math.round(100 * t)} %`;
  const [[first], ...others] = parts;
  if (others.length > 2) return `${first} + ${others.length} more`;
  return [first, ...others.map(([seed]) => seed)].join(" + ");
}

// --- Ways to another point -------------------------------------------------------------------------------

/**
 * Mixes points, each by its weight whatever is in it.
 *
 * Returns undefined where no weight is left, or more seeds than an address holds.
 */
export function blend(points, weights) {
  const shares = new Map();
  points.forEach((point, k) => {
    const parts = asMix(point);
    for (const [seed, weight] of parts) {
      shares.set(seed, (shares.get(seed) ?? 0) + (weights[k] * weight) / length(parts));
    }
  });
  const parts = [...shares].filter(([, weight]) => weight > 0);
  if (parts.length === 0 || parts.length > PARTS_MAX) return undefined;
  const largest = Math.max(...parts.map(([, weight]) => weight));
  return { parts: tidy(parts.map(([seed, weight]) => [seed, weight / largest])) };
}

/** Returns the point at a share of the way; exactly the service's own where both ends are seeds. */
export function between(a, b, t) {
  if (t === 0 || t === 1) return t ? b : a;
  if (isPlain(a) && isPlain(b)) return { parts: a.parts, to: b.parts[0][0], t };
  return blend([a, b], [Math.cos((t * Math.PI) / 2), Math.sin((t * Math.PI) / 2)]);
}

/**
 * Steps from a point towards a seed, by `radius` in (0, 1) as the service has it: √(1−r²) of the point stay.
 */
export function step(point, seed, radius) {
  const parts = asMix(point).map((part) => [...part]);
  const added = (length(parts) * radius) / Math.sqrt(1 - radius * radius);
  const known = parts.find(([other]) => other === seed);
  if (known) known[1] += added;
  else parts.push([seed, added]);
  return { parts: tidy(parts) };
}

/** Returns seeds to step towards: numbers from `turn` on, or, where no more fit, those that are in the point. */
export function directions(point, turn, count) {
  const seeds = asMix(point).map(([seed]) => seed);
  if (seeds.length >= PARTS_MAX) return Array.from({ length: count }, (_, k) => seeds[(turn + k) % seeds.length]);
  const found = [];
  for (let seed = turn; found.length < count; seed++) if (!seeds.includes(`${seed}`)) found.push(`${seed}`);
  return found;
}

// Seeds' latents are all but orthogonal, so these are slerp's own weights, nearly.
function asMix({ parts, to, t }) {
  if (to === undefined) return parts;
  return [[parts[0][0], Math.cos((t * Math.PI) / 2)], [to, Math.sin((t * Math.PI) / 2)]];
}

const tidy = (parts) => parts.map(([seed, weight]) => [seed, Math.max(0.001, Number(weight.toFixed(3)))]);
