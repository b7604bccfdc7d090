// Dark or light, before the first paint: a classic script, for a module would come after it.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("seedling.theme");
    } catch {
      return null; // storage may be forbidden; the toggle then lasts as long as the page
    }
  };
  if (stored()) root.dataset.theme = stored();

  addEventListener("DOMContentLoaded", () => {
    document.querySelector("#theme-toggle").addEventListener("click", () => {
      const system = dark.matches ? "dark" : "light";
      const next = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
      root.dataset.theme = next;
      try {
        // What the system says anyway is not a choice to remember.
        if (next === system) localStorage.removeItem("seedling.theme");
        else localStorage.setItem("seedling.theme", next);
      } catch {
        // As above.
      }
    });
  });
})();
