import { toast } from "./ui.js";
const dialog = document.querySelector("#palette");
const input = dialog?.querySelector("input"), hits = dialog?.querySelector(".hits");
let timer = 0, asked = 0;
async function find() {
  const mine = ++asked;
  try {
    const answer = await fetch(`/search?q=${encodeURIComponent(input.value)}`, { headers: { "HX-Request": "true" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const html = await answer.text();
    if (mine === asked) { hits.innerHTML = html; mark(0); }
  } catch { if (mine === asked) toast({ title: document.body.dataset.offline, text: document.body.dataset.offlineHelp, id: "toast-offline" }); }
}
const items = () => [...hits.querySelectorAll("a")];
function mark(at) {
  const all = items(); if (!all.length) { input.removeAttribute("aria-activedescendant"); return; }
  const index = (at + all.length) % all.length;
  all.forEach((el, i) => { el.setAttribute("aria-selected", String(i === index)); el.id = `hit-${i}`; });
  all[index].scrollIntoView({ block: "nearest" }); input.setAttribute("aria-activedescendant", `hit-${index}`);
}
if (dialog) {
  addEventListener("lormas:open", (event) => { if (event.detail === dialog) { input.value = ""; find(); } });
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, 90); });
  input.addEventListener("keydown", (event) => {
    const all = items(), at = all.findIndex((el) => el.getAttribute("aria-selected") === "true");
    if (event.key === "ArrowDown") { event.preventDefault(); mark(at + 1); } else if (event.key === "ArrowUp") { event.preventDefault(); mark(at - 1); }
    else if (event.key === "Enter") { event.preventDefault(); all[at]?.click(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); document.querySelector("[data-target='#palette']")?.click(); }
  });
}
