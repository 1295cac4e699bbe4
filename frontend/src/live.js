// Pages patch themselves: an element with data-live="container:<id>" (or "node:<id>", "operations", ...) and data-src is fetched again and
// morphed when a message about it comes. data-batch: several elements of one kind are asked for in one request (?id=…&id=…).
import { Idiomorph } from "idiomorph/dist/idiomorph.esm.js";
import htmx from "./htmx.js";
import { socket } from "./socket.js";
import { watchStats } from "./stats.js";

const KEEP = {
  // live numbers are newer than what the server rendered, unless it says that they are over
  beforeNodeMorphed: (from, to) => !((from.dataset?.stat && to.dataset && !("off" in to.dataset)) || from.localName === "lm-spark" || from.localName === "lm-log" || from.hasAttribute?.("data-keep")),
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.localName === "details"),
};
export function morph(target, html, style = "outerHTML") {
  Idiomorph.morph(target, html, { morphStyle: style, ignoreActiveValue: true, callbacks: KEEP });
}
htmx.defineExtension("morph", {
  isInlineSwap: (style) => style.startsWith("morph"),
  handleSwap: (style, target, fragment) => {
    if (style !== "morph" && style !== "morph:innerHTML") return false;
    const nodes = [...fragment.childNodes];
    Idiomorph.morph(target, nodes, { morphStyle: style === "morph" ? "outerHTML" : "innerHTML", ignoreActiveValue: true, callbacks: KEEP });
    return [target];
  },
});

const due = new Set();
let timer = 0;
async function fetchHtml(url) {
  const answer = await fetch(url, { headers: { "HX-Request": "true", "X-Live": "1" }, credentials: "same-origin" });
  if (answer.status === 404) return "";
  if (!answer.ok || answer.redirected) throw new Error(`${answer.status}`);
  return answer.text();
}
async function refresh() {
  timer = 0;
  const batches = new Map(), singles = new Map();
  for (const el of due) {
    if (!el.isConnected) continue;
    if (el.dataset.batch) (batches.get(el.dataset.batch) ?? batches.set(el.dataset.batch, []).get(el.dataset.batch)).push(el);
    else if (el.dataset.src) singles.set(el, el.dataset.src);
  }
  due.clear();
  const jobs = [...singles].map(async ([el, url]) => { const html = await fetchHtml(url); if (el.isConnected && html) { morph(el, html); } });
  for (const [url, els] of batches) {
    jobs.push((async () => {
      const query = new URLSearchParams(els.map((el) => ["id", el.dataset.id]));
      const html = await fetchHtml(`${url}?${query}`);
      const box = document.createElement("template");
      box.innerHTML = html;
      for (const el of els) {
        const fresh = box.content.getElementById(el.id);
        if (fresh) morph(el, fresh.outerHTML); else if (el.isConnected) el.remove();
      }
    })());
  }
  await Promise.allSettled(jobs);
  htmx.process(document.body);
  dispatchEvent(new Event("lormas:patched"));
  watchStats();
}
export function touch(keys, wait = 120) {
  for (const el of document.querySelectorAll("[data-live]")) if (el.dataset.live.split(" ").some((key) => keys.includes(key))) due.add(el);
  if (due.size && !timer) timer = setTimeout(refresh, wait);
}
function everything() {
  for (const el of document.querySelectorAll("[data-live]")) due.add(el);
  if (!timer) timer = setTimeout(refresh, 50 + Math.random() * 400);
}
socket.on((message) => {
  // what changed since the page was made, or while the link was lost, nobody told us: read the truth again
  if (message.type === "resync" || (message.type === "subscribed" && message.topics)) everything();
  if (!["container", "node", "operation", "machine", "reservation"].includes(message.type)) return;
  const keys = [`${message.type}:${message.id}`, `${message.type}s`];
  if (message.type === "operation" && message.target_id) keys.push(`target:${message.target_id}`);
  if (!document.querySelector(`[data-live~="${message.type}:${CSS.escape(String(message.id))}"]`)) keys.push(`${message.type}s:other`);
  touch(keys);
});
document.addEventListener("htmx:afterSettle", watchStats);

const topics = document.body.dataset.topics;
if (document.body.dataset.user) {
  socket.subscribe("topics", () => ({ type: "subscribe", topics: (topics || "operations").split(" ") }));
  watchStats();
  socket.start();
}
