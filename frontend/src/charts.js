// <lm-charts>: history from the API, then live points; one crosshair for all of them.
import uPlot from "uplot/dist/uPlot.esm.js";
import { bytes, percent, rate } from "./format.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const BINARY = Array.from({ length: 46 }, (_, i) => 2 ** i);
const lang = document.documentElement.lang || "en";
const SECOND = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }), DAY = new Intl.DateTimeFormat(lang, { weekday: "short", day: "numeric" });
const times = (_u, splits, _axis, _space, step) => splits.map((t) => (step >= 86400 || new Date(t * 1000).getHours() + new Date(t * 1000).getMinutes() === 0 ? DAY : step < 60 ? SECOND : HOUR).format(new Date(t * 1000)));
const FORMAT = { cpu: percent, memory: bytes, network: rate, block: rate, disk: bytes };

class Charts extends HTMLElement {
  async connectedCallback() {
    this.sync = uPlot.sync(this.dataset.container); this.charts = []; this.rows = [];
    this.seconds = Number(this.dataset.seconds) || 3600;
    this.boxes = [...this.querySelectorAll(".chart")];
    this.sample = (event) => { if (event.detail.container_id === this.dataset.container) this.push(event.detail); };
    addEventListener("lormas:sample", this.sample);
    this.theme = new MutationObserver(() => this.draw()); this.theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
    this.size = new ResizeObserver(() => { for (const chart of this.charts) chart.setSize({ width: chart.root.parentElement.clientWidth - 16, height: 180 }); }); this.size.observe(this);
    try {
      const answer = await fetch(this.dataset.src, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const body = await answer.json();
      this.rows = this.counters(body.samples ?? body.results ?? body.points ?? (Array.isArray(body) ? body : []));
    } catch { this.dataset.failed = "1"; }
    this.draw();
  }
  disconnectedCallback() { removeEventListener("lormas:sample", this.sample); this.theme.disconnect(); this.size.disconnect(); for (const chart of this.charts) chart.destroy(); }
  // history carries counters or, where it is rolled up, rates
  counters(samples) {
    let before = null;
    return samples.map((s) => {
      const t = typeof s.time === "number" ? s.time : Date.parse(s.time) / 1000;
      const per = (key, rated) => { if (s[rated] !== undefined) return s[rated]; return before && t > before.t && s[key] >= before.s[key] ? (s[key] - before.s[key]) / (t - before.t) : null; };
      const row = { t, cpu: s.cpu_percent ?? null, memory: s.memory_bytes ?? null, limit: s.memory_limit_bytes || null, disk: s.disk_bytes ?? null, rx: per("network_rx_bytes", "network_rx_rate"), tx: per("network_tx_bytes", "network_tx_rate"), read: per("block_read_bytes", "block_read_rate"), write: per("block_write_bytes", "block_write_rate") };
      before = { t, s }; return row;
    });
  }
  push(s) {
    this.rows.push({ t: s.time, cpu: s.cpu_percent, memory: s.memory_bytes, limit: s.memory_limit_bytes || null, disk: s.disk_bytes ?? null, rx: s.rx_rate ?? null, tx: s.tx_rate ?? null, read: s.read_rate ?? null, write: s.write_rate ?? null });
    const from = s.time - this.seconds; while (this.rows.length && this.rows[0].t < from) this.rows.shift();
    if (this.charts.length) this.charts.forEach((chart, i) => { chart.setData(this.data(this.boxes[i].dataset.chart)); if (chart.cursor.idx == null) chart.hooks.setCursor?.forEach((hook) => hook(chart)); }); else this.draw();
  }
  data(kind) {
    const t = this.rows.map((row) => row.t), pick = (key) => this.rows.map((row) => row[key]);
    return { cpu: [t, pick("cpu")], memory: [t, pick("memory")], disk: [t, pick("disk")], network: [t, pick("rx"), pick("tx")], block: [t, pick("read"), pick("write")] }[kind];
  }
  // of what is not now: the point under the cursor, or the last one of what runs no more
  when(t, pointed) {
    if (!t || (!pointed && Date.now() / 1000 - t < Math.max(60, this.seconds / 120))) return "";
    const at = new Date(t * 1000), today = at.toDateString() === new Date().toDateString();
    return ` · ${today ? "" : `${DAY.format(at)} `}${(this.seconds > 3600 ? HOUR : SECOND).format(at)}`;
  }
  draw() {
    for (const chart of this.charts) chart.destroy();
    this.charts = [];
    const waiting = this.querySelector("[data-waiting]"); if (waiting) { waiting.hidden = this.rows.length > 0; if (this.dataset.failed && !this.rows.length) waiting.textContent = waiting.dataset.failed; }
    for (const box of this.boxes) box.closest(".panel").hidden = this.rows.length === 0;
    if (!this.rows.length) return;
    const ink = css("--ink"), mute = css("--ink-3"), line = css("--line");
    for (const box of this.boxes) {
      const kind = box.dataset.chart, format = FORMAT[kind], two = kind === "network" || kind === "block", now = box.closest(".panel").querySelector(".chart-now");
      const most = Number(box.dataset.limit) || 0;
      const series = (color, fill, dash) => ({ stroke: color, width: 1.5, fill, dash, points: { show: false }, spanGaps: false });
      const soft = `color-mix(in srgb, ${ink} 8%, transparent)`;
      box.replaceChildren();
      const chart = new uPlot({
        width: box.clientWidth - 16, height: 180, cursor: { sync: { key: this.sync.key }, y: false, points: { size: 6 }, drag: { x: true, y: false } }, legend: { show: false }, padding: [10, 16, 0, 0],
        scales: { x: { time: true }, y: { range: (_u, _min, max) => [0, most && max <= most ? most : Math.max(max * 1.15 || 1, kind === "cpu" ? 5 : 1024)] } },
        series: two ? [{}, series(ink, undefined), series(mute, undefined, [4, 3])] : [{}, series(ink, soft)],
        axes: [{ stroke: mute, grid: { show: false }, ticks: { show: false }, font: "11px Geist Variable, sans-serif", size: 24, values: times }, { stroke: mute, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px Geist Variable, sans-serif", size: 66, values: (_u, ticks) => ticks.map((v) => format(v)), space: 36, ...(kind === "cpu" ? {} : { incrs: BINARY }) }],
        hooks: { setCursor: [(u) => { if (!now) return; const i = u.cursor.idx ?? u.data[0].length - 1; now.textContent = u.data.slice(1).map((column) => format(column[i] ?? NaN)).join(" / ") + this.when(u.data[0][i], u.cursor.idx != null); }] },
      }, this.data(kind), box);
      chart.setCursor({ left: -1, top: -1 });
      this.charts.push(chart);
    }
  }
}
customElements.define("lm-charts", Charts);
