// How the service does: what is wrong with a picture, when to ask again, what it serves.

import { $, button, h } from "./dom.js";

/** The service said no, and would again; the message is fit to show. */
export class RefusalError extends Error {}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/**
 * Asks why a picture did not come, and returns when it makes sense to ask for it again.
 *
 * An `<img>` hides the answer's status, so it is asked for once more, by `fetch`.
 */
export async function untilWorthwhile(address, signal) {
  let answer;
  try {
    answer = await fetch(address, { signal });
  } catch {
    signal?.throwIfAborted();
    return untilBack();
  }
  if (answer.ok) return undefined;
  const seconds = Number(answer.headers.get("Retry-After"));
  // Not all at the same moment: each a little later, as luck has it.
  if (seconds) return sleep(seconds * (1 + Math.random()));
  if ([502, 503, 504].includes(answer.status)) return untilBack();
  const problem = await answer.json().catch(() => ({}));
  throw new RefusalError(problem.detail ?? `The service answered ${answer.status}.`);
}

let back;

/** Returns when the service answers again; all who wait share one question, and a notice says so. */
function untilBack() {
  back ??= (async () => {
    for (let pause = 1; ; pause = Math.min(2 * pause, 15)) {
      await Promise.race([sleep(pause), askedFor("The service does not answer. Pictures grow on when it does.", "Try now")]);
      const answer = await fetch("readyz").catch(() => undefined);
      if (answer?.ok) break;
    }
    $("#notice").hidden = true;
    back = undefined;
  })();
  return back;
}

/** Shows a notice with a button, and returns when it is pressed. */
export function askedFor(text, words) {
  return new Promise((resolve) => {
    if ($("#notice").dataset.text !== text) $("#notice").replaceChildren(h("p", { textContent: text }));
    $("#notice").dataset.text = text;
    $("#notice button")?.remove();
    $("#notice").append(button("on", words, resolve));
    $("#notice").hidden = false;
  });
}

/** Returns what `/v1/models` lists, the default first; nothing where it cannot be had. */
export async function models() {
  const answer = await fetch("v1/models").catch(() => undefined);
  return answer?.ok ? (await answer.json()).data : [];
}
