// Live numbers: every [data-stats] names a container; inside it [data-stat] takes a word and <lm-spark data-stat> takes a point.
import { socket } from "./socket.js";
import { bytes, percent, rate } from "./format.js";

const POINTS = 60;
const last = new Map();

export class Spark extends HTMLElement {
  #points = []; #max = 0;
  connectedCallback() {
    if (this.#points.length === 0 && this.getAttribute("points")) this.#points = this.getAttribute("points").split(",").map(Number).filter(Number.isFinite);
    this.#max = Number(this.getAttribute("max")) || 0;
    this.setAttribute("aria-hidden", "true");
    this.draw();
  }
  push(value) { this.#points.push(value); if (this.#points.length > POINTS) this.#points.shift(); this.draw(); }
  draw() {
    const points = this.#points;
    if (points.length < 2) { this.replaceChildren(); return; }
    const top = Math.max(this.#max, ...points) * 1.08 || 1, step = 100 / (POINTS - 1), from = 100 - (points.length - 1) * step;
    const line = points.map((v, i) => `${(from + i * step).toFixed(2)} ${(30 - (v / top) * 29 - 0.5).toFixed(2)}`).join("L");
    let svg = this.firstElementChild;
    if (!svg) {
      const ns = "http://www.w3.org/2000/svg";
      svg = document.createElementNS(ns, "svg");
      svg.setAttribute("viewBox", "0 0 100 30"); svg.setAttribute("preserveAspectRatio", "none");
      for (const name of ["fill", "line"]) { const path = document.createElementNS(ns, "path"); path.setAttribute("class", name); svg.append(path); }
      this.append(svg);
    }
    svg.children[0].setAttribute("d", `M${from} 30L${line}L100 30Z`);
    svg.children[1].setAttribute("d", `M${line}`);
  }
}
customElements.define("lm-spark", Spark);

export function derive(message) {
  const time = message.time ? (typeof message.time === "number" ? message.time : Date.parse(message.time) / 1000) : Date.now() / 1000;
  const before = last.get(message.container_id);
  const sample = { ...message, time };
  const total = (sample, key) => sample[key] ?? 0; // zeros may be left out
  const per = (key) => (before && time > before.time && total(message, key) >= total(before, key) ? (total(message, key) - total(before, key)) / (time - before.time) : undefined);
  sample.rx_rate = per("network_rx_bytes"); sample.tx_rate = per("network_tx_bytes"); sample.read_rate = per("block_read_bytes"); sample.write_rate = per("block_write_bytes");
  last.set(message.container_id, sample);
  return sample;
}
const WORDS = {
  cpu: (s) => percent(s.cpu_percent), memory: (s) => bytes(s.memory_bytes), rx: (s) => rate(s.rx_rate), tx: (s) => rate(s.tx_rate),
  read: (s) => rate(s.read_rate), write: (s) => rate(s.write_rate), pids: (s) => String(s.pids ?? "–"), disk: (s) => bytes(s.disk_bytes),
};
const NUMBERS = { cpu: (s) => s.cpu_percent, memory: (s) => s.memory_bytes, rx: (s) => s.rx_rate, tx: (s) => s.tx_rate, net: (s) => (s.rx_rate ?? NaN) + (s.tx_rate ?? NaN) };

function show(sample) {
  for (const box of document.querySelectorAll(`[data-stats="${CSS.escape(sample.container_id)}"]`)) {
    for (const place of box.querySelectorAll("[data-stat]")) {
      const key = place.dataset.stat;
      if (place instanceof Spark) { const v = NUMBERS[key]?.(sample); if (Number.isFinite(v)) place.push(v); }
      else if (WORDS[key]) { const text = WORDS[key](sample); if (place.textContent !== text) place.textContent = text; }
    }
  }
  dispatchEvent(new CustomEvent("lormas:sample", { detail: sample }));
}
socket.on((message) => { if (message.type === "stats" && message.container_id) show(derive(message.stats ? { ...message.stats, container_id: message.container_id } : message)); });

const watched = new Set();
export function watchStats() {
  const wanted = new Set([...document.querySelectorAll("[data-stats]")].map((box) => box.dataset.stats).slice(0, 40));
  for (const id of watched) if (!wanted.has(id)) { watched.delete(id); socket.unsubscribe(`stats:${id}`, { type: "unsubscribe_stats", container_id: id }); }
  for (const id of wanted) if (!watched.has(id)) { watched.add(id); socket.subscribe(`stats:${id}`, () => ({ type: "subscribe_stats", container_id: id })); }
}
