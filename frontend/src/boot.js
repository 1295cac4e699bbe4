// Runs before the first paint, as a plain script: the theme and the sidebar must not flicker.
(() => {
  const root = document.documentElement;
  const read = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => { const wish = read("lormas-theme"); root.dataset.bsTheme = wish === "dark" || wish === "light" ? wish : dark.matches ? "dark" : "light"; };
  apply();
  dark.addEventListener("change", apply);
  addEventListener("lormas:theme", apply);
  addEventListener("storage", apply);
  if (read("lormas-side") === "slim") root.dataset.side = "slim";
  root.classList.add("js");
})();
