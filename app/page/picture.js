// A picture in its frame: the old one stays until the new one is there, and nothing moves.

import { RefusalError, untilWorthwhile } from "./service.js";

const shown = new WeakMap(); // frame → { address, stop }

/** Grows a picture and returns it ready to be painted; asks again for as long as that makes sense. */
export async function grow(address, { alt = "", signal } = {}) {
  for (let tries = 1; ; tries++) {
    const img = Object.assign(new Image(), { alt, draggable: false });
    const stop = () => img.removeAttribute("src");
    signal?.addEventListener("abort", stop);
    try {
      img.src = address;
      await img.decode();
      return img;
    } catch {
      signal?.throwIfAborted();
      if (tries > 20) throw new RefusalError("The picture did not come.");
    } finally {
      signal?.removeEventListener("abort", stop);
    }
    await untilWorthwhile(address, signal);
    signal?.throwIfAborted();
  }
}

/** Shows the picture of an address in a frame, in place of the one that is there or on its way. */
export async function show(frame, address, alt = "") {
  if (shown.get(frame)?.address === address) return;
  cancel(frame);
  const control = new AbortController();
  shown.set(frame, { address, stop: () => control.abort() });
  frame.classList.add("growing");
  try {
    const img = await grow(address, { alt, signal: control.signal });
    frame.append(img);
    await Promise.allSettled(img.getAnimations().map((fade) => fade.finished)); // hidden, it is cut short
    while (frame.firstChild !== img && img.parentNode === frame) frame.firstChild.remove();
    settle(frame, "");
  } catch (error) {
    if (control.signal.aborted) return;
    if (!(error instanceof RefusalError)) throw error;
    frame.replaceChildren();
    settle(frame, error.message);
  }
}

function settle(frame, problem) {
  frame.classList.remove("growing");
  frame.classList.toggle("failed", problem !== "");
  frame.title = problem;
}

/** Stops what is on its way to a frame. */
export function cancel(frame) {
  if (!frame.classList.contains("growing")) return;
  shown.get(frame)?.stop();
  shown.delete(frame);
  frame.classList.remove("growing");
}
