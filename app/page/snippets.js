// A picture's address, ready to be pasted.

import { absolute } from "./address.js";

/**
 * Returns, by name, what to paste where.
 *
 * @param address As address.js gives it.
 * @param about `name` of a file, `title` for people, `side` in pixels.
 */
export function snippets(address, { name, title, side }) {
  const url = absolute(address);
  return {
    Address: url,
    HTML: `<img src="${url.replaceAll("&", "&amp;")}" width="${side}" height="${side}" alt="">`,
    Markdown: `![${title.replace(/[[\]\\]/g, "\\$&")}](${url})`,
    curl: `curl -o ${name} '${url}'`,
    Python: `from urllib.request import urlretrieve\nurlretrieve("${url}", "${name}")`,
  };
}

/** Returns a name that any file system takes. */
export function fileName(name, format) {
  const stem = name.replace(/[^\w.@-]+/g, "-").replace(/^[.-]+|-+$/g, "") || "picture";
  return `${stem}.${format || "png"}`;
}
