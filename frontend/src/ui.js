// The small manners of the page: theme, sidebar, menus, tips, toasts, copying, dialogs, relative times, the bar of a lost link.
import htmx from "./htmx.js";
import { absolute, ago, span } from "./format.js";
import { socket } from "./socket.js";

const root = document.documentElement;
const store = (key, value) => { try { value == null ? localStorage.removeItem(key) : localStorage.setItem(key, value); } catch { /* private mode */ } };
const $ = (selector, from = document) => from.querySelector(selector);

document.addEventListener("click", (event) => {
  const hit = event.target.closest("[data-do], [aria-disabled='true']");
  for (const open of document.querySelectorAll("details.menu[open]")) if (!open.contains(event.target)) open.open = false;
  if (!hit) return;
  if (hit.getAttribute("aria-disabled") === "true") { event.preventDefault(); event.stopPropagation(); tip(hit, true); return; }
  const act = DO[hit.dataset.do];
  if (act) { act(hit, event); const menu = hit.closest("details.menu"); if (menu && !hit.hasAttribute("data-stay")) menu.open = false; }
}, true);
document.addEventListener("submit", (event) => { if (event.submitter?.getAttribute("aria-disabled") === "true") { event.preventDefault(); event.stopPropagation(); } }, true);

const DO = {
  theme(el) { store("lormas-theme", el.dataset.value === "system" ? null : el.dataset.value); dispatchEvent(new Event("lormas:theme")); marks(); },
  slim() { const slim = root.dataset.side !== "slim"; if (slim) root.dataset.side = "slim"; else delete root.dataset.side; store("lormas-side", slim ? "slim" : null); },
  burger() { document.body.classList.toggle("menu-open"); if (document.body.classList.contains("menu-open")) $(".side nav a")?.focus(); },
  dismiss(el) { el.closest(".toast-x, .banner")?.remove(); },
  retry() { socket.now(); },
  print() { window.print(); },
  async copy(el) {
    const from = el.dataset.copy ? el.dataset.copy : $(el.dataset.from)?.textContent ?? "";
    try { await navigator.clipboard.writeText(from.trim()); } catch {
      const box = Object.assign(document.createElement("textarea"), { value: from.trim() });
      document.body.append(box); box.select(); document.execCommand("copy"); box.remove();
    }
    say(document.body.dataset.copied); el.classList.add("copied");
    const old = el.dataset.tip; el.dataset.tip = document.body.dataset.copied; tip(el, true);
    setTimeout(() => { el.classList.remove("copied"); if (old === undefined) delete el.dataset.tip; else el.dataset.tip = old; hideTip(); }, 1400);
  },
  open(el, event) { const dialog = $(el.dataset.target); if (dialog?.showModal) { event.preventDefault(); dialog.showModal(); dispatchEvent(new CustomEvent("lormas:open", { detail: dialog })); } },
  close(el) { el.closest("dialog")?.close(); },
};
function marks() {
  let wish = "system"; try { wish = localStorage.getItem("lormas-theme") || "system"; } catch { /* private mode */ }
  for (const el of document.querySelectorAll("[data-do='theme']")) el.setAttribute("aria-checked", String(el.dataset.value === wish));
}
marks();
// A file that is dropped beside the field belongs into it: the browser would leave the page and show the file.
const dropField = (event) => (event.dataTransfer?.types.includes("Files") ? $("input[type=file].drop:enabled") : null);
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { const field = dropField(event); if (field) { event.preventDefault(); field.classList.add("over"); } });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) dropField(event)?.classList.remove("over"); });
addEventListener("drop", (event) => {
  const field = dropField(event); if (!field) return;
  event.preventDefault(); field.classList.remove("over");
  const taken = new DataTransfer();
  for (const item of event.dataTransfer.items) if (item.kind === "file" && !item.webkitGetAsEntry?.()?.isDirectory) taken.items.add(item.getAsFile());
  field.files = taken.files; field.focus();
});
document.addEventListener("click", (event) => { if (event.target instanceof HTMLDialogElement) event.target.close(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    hideTip();
    for (const open of document.querySelectorAll("details.menu[open]")) { open.open = false; open.querySelector("summary").focus(); }
    document.body.classList.remove("menu-open");
  }
  const menu = event.target.closest?.("details.menu[open]");
  if (menu && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const items = [...menu.querySelectorAll(".pop :is(a, button)")], at = items.indexOf(document.activeElement);
    if (items.length) { event.preventDefault(); items[(at + (event.key === "ArrowDown" ? 1 : -1) + items.length) % items.length].focus(); }
  }
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.closest?.("input, textarea, select, [contenteditable]")) {
    const find = $("[data-find]") ?? $("[data-do='open'][data-target='#palette']");
    if (find) { event.preventDefault(); find.matches("input") ? find.focus() : find.click(); }
  }
});

// tips: on hover, focus and touch; also the reason of a button that is off
let tipBox = null, tipFor = null;
function tip(el) {
  const text = el.dataset.tip; if (!text) return;
  tipBox ??= Object.assign(document.createElement("div"), { className: "tip", id: "tip", role: "tooltip" });
  tipBox.textContent = text;
  (el.closest("dialog[open]") ?? document.body).append(tipBox); tipFor = el;
  el.setAttribute("aria-describedby", "tip");
  const at = el.getBoundingClientRect(), box = tipBox.getBoundingClientRect();
  tipBox.style.left = `${Math.max(8, Math.min(innerWidth - box.width - 8, at.left + at.width / 2 - box.width / 2))}px`;
  tipBox.style.top = `${at.bottom + box.height + 10 > innerHeight ? at.top - box.height - 6 : at.bottom + 6}px`;
}
function hideTip() { tipFor?.removeAttribute("aria-describedby"); tipBox?.remove(); tipFor = null; }
for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, (event) => { const el = event.target.closest?.("[data-tip]"); if (el && el !== tipFor) tip(el); else if (!el && tipFor && kind === "pointerover") hideTip(); });
document.addEventListener("focusout", hideTip);
addEventListener("scroll", (event) => { if (tipFor && event.target.contains?.(tipFor)) hideTip(); }, true);

// words for screen readers, and toasts that come from scripts
export function say(text) { const box = $("#say"); if (box && text) { box.textContent = ""; box.textContent = text; } }
export function toast({ tone = "red", title, text = "", id = "", act = null, fade = 0 }) {
  const made = $("#toast-template").content.firstElementChild.cloneNode(true);
  made.classList.add(tone);
  made.querySelector("strong").textContent = title; made.querySelector("p").textContent = text;
  if (id) { document.getElementById(id)?.remove(); made.id = id; }
  if (act) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "btn s", textContent: act.label });
    button.addEventListener("click", () => { made.remove(); act.run(); });
    made.querySelector("div").append(button);
  }
  if (fade) made.dataset.fade = fade;
  $("#toasts").append(made);
}
new MutationObserver((found) => { for (const { addedNodes } of found) for (const node of addedNodes) { if (node.dataset?.replaces) document.getElementById(node.dataset.replaces)?.remove(); if (node.dataset?.fade) setTimeout(() => { if (!node.matches(":hover, :focus-within")) node.remove(); else node.addEventListener("pointerleave", () => node.remove(), { once: true }); }, Number(node.dataset.fade)); } }).observe($("#toasts") ?? document.createElement("div"), { childList: true });
for (const node of document.querySelectorAll("#toasts > [data-fade]")) setTimeout(() => node.remove(), Number(node.dataset.fade));
document.addEventListener("htmx:sendError", () => toast({ title: document.body.dataset.offline, text: document.body.dataset.offlineHelp, id: "toast-offline" }));
document.addEventListener("htmx:timeout", () => toast({ title: document.body.dataset.offline, text: document.body.dataset.offlineHelp, id: "toast-offline" }));

// an operation of mine that ended: its toast is replaced by the server's own words
socket.on((message) => {
  if (message.type !== "operation" || message.status === "running" || message.status === "queued" || message.kind?.startsWith("node.health")) return;
  const shown = document.getElementById(`toast-op-${message.id}`);
  if (!shown && !(message.owner === document.body.dataset.user && message.status !== "succeeded")) return;
  htmx.ajax("GET", `/operations/${message.id}/toast`, { swap: "none", target: "#toasts" });
});

// one that ended while a page was changed, or while nobody listened
function settleToasts() {
  for (const toast of document.querySelectorAll("[id^='toast-op-']:not([id$='-end'])")) htmx.ajax("GET", `/operations/${toast.id.slice(9)}/toast`, { swap: "none", target: "#toasts" });
}
socket.addEventListener("state", () => { if (socket.state === "open") settleToasts(); });

// relative times and uptimes tick
export function tick(from = document) {
  const now = Date.now();
  for (const el of from.querySelectorAll("time[data-ago]")) {
    const at = new Date(el.getAttribute("datetime")); if (Number.isNaN(+at)) continue;
    const text = el.dataset.ago === "span" ? span((now - at) / 1000) : el.dataset.ago === "left" ? span(Math.max(0, at - now) / 1000) : ago(at);
    if (el.textContent !== text) el.textContent = text;
    if (!el.title) el.title = absolute(at);
  }
}
tick(); setInterval(tick, 1000);
document.addEventListener("htmx:afterSettle", () => tick()); addEventListener("lormas:patched", () => tick());

// the bar of a lost link: only after a moment, so that a page change does not flash it
const bar = $("#linkbar");
let barTimer = 0;
function link() {
  if (!bar) return;
  const off = socket.state === "lost" || socket.state === "signedout" || socket.state === "refused";
  clearTimeout(barTimer);
  if (!off) { bar.hidden = true; delete root.dataset.link; return; }
  barTimer = setTimeout(() => {
    root.dataset.link = "off"; bar.hidden = false;
    for (const part of bar.querySelectorAll("[data-when]")) part.hidden = !part.dataset.when.split(" ").includes(socket.state);
    const at = $("time", bar); at.setAttribute("datetime", new Date(socket.since).toISOString()); at.textContent = new Date(socket.since).toLocaleTimeString();
  }, socket.state === "lost" ? 1500 : 0);
}
socket.addEventListener("state", link);

// dialogs that ask for a name before something is lost
document.addEventListener("input", (event) => {
  const box = event.target; if (!box.dataset?.mustBe) return;
  const button = box.form?.querySelector("[type='submit']"); if (button) button.disabled = box.value.trim() !== box.dataset.mustBe;
});
for (const box of document.querySelectorAll("[data-must-be]")) box.dispatchEvent(new Event("input", { bubbles: true }));
// a box that narrows the cards below it
document.addEventListener("input", (event) => {
  const box = event.target; if (!box.dataset?.cards) return;
  const wanted = box.value.trim().toLowerCase();
  for (const card of $(box.dataset.cards).children) card.hidden = !card.textContent.toLowerCase().includes(wanted);
});
// one box that ticks all
document.addEventListener("change", (event) => { const all = event.target.dataset?.all; if (all) for (const box of event.target.closest(".panel").querySelectorAll(all)) box.checked = event.target.checked; });
// forms that go by themselves when something is chosen (filters)
document.addEventListener("change", (event) => { if (event.target.form?.hasAttribute("data-auto") && !event.target.matches("[type='search']")) event.target.form.requestSubmit(); });
