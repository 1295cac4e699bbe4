// Uploads in pieces: each goes on where it was after a lost connection, and after a reload when the same file is chosen again.
import { call, csrf } from "./api.js";
import { bytes, rate, span } from "./format.js";

const AT_ONCE = 3, TRIES = 12, WAIT_MS = 1000, LONGEST_MS = 15000;
const fill = (text, ...values) => values.reduce((kept, value) => kept.replace(/%[ds]/, String(value)), text);

// every file of what was dropped, folders walked
export async function dropped(transfer) {
  const found = [], roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean), loose = [...transfer.files];
  const walk = async (entry, at) => {
    if (entry.isFile) { found.push({ file: await new Promise((done, lost) => entry.file(done, lost)), path: at + entry.name }); return; }
    const reader = entry.createReader();
    for (;;) { const some = await new Promise((done, lost) => reader.readEntries(done, lost)); if (!some.length) break; for (const one of some) await walk(one, `${at}${entry.name}/`); }
  };
  for (const root of roots) await walk(root, "");
  return roots.length ? found : loose.map((file) => ({ file, path: file.name }));
}

export class Uploads {
  constructor(host, changed, asks) { this.host = host; this.changed = changed; this.asks = asks; this.box = host.querySelector(".fm-uploads"); this.list = this.box.querySelector("ol"); this.jobs = []; this.forAll = ""; }
  get busy() { return this.jobs.some((job) => job.state === "waiting" || job.state === "running"); }
  key(job) { return `lormas-upload ${this.host.dataset.container} ${job.path} ${job.file.size} ${job.file.lastModified}`; }
  remember(job, id) { try { if (id) localStorage.setItem(this.key(job), id); else localStorage.removeItem(this.key(job)); } catch { /* private mode */ } }
  remembered(job) { try { return localStorage.getItem(this.key(job)); } catch { return null; } }

  add(files) {
    if (!files.length) return;
    if (!this.busy) { this.jobs = []; this.list.replaceChildren(); }
    for (const { file, path } of files) {
      const job = { file, path, state: "waiting", sent: 0, overwrite: false, rates: [] }, row = document.createElement("li");
      const name = document.createElement("span"), facts = document.createElement("span"), line = document.createElement("div"), stop = document.createElement("button");
      name.className = "clip"; name.textContent = path; name.title = path; facts.className = "small mute"; facts.textContent = this.host.w.waiting;
      line.className = "progress-line"; line.append(document.createElement("i"));
      stop.type = "button"; stop.className = "btn ghost s sq"; stop.append(this.box.querySelector("header button:last-child svg").cloneNode(true)); stop.setAttribute("aria-label", `${this.box.querySelector("[data-fm=uploads-cancel]").textContent}: ${path}`);
      stop.addEventListener("click", () => this.end(job, "cancelled"));
      row.append(name, facts, stop, line);
      Object.assign(job, { row, facts, line: line.firstChild, stop });
      this.jobs.push(job); this.list.append(row);
    }
    this.box.hidden = false;
    this.pump();
  }
  hide() { this.box.hidden = true; }
  cancel() { for (const job of this.jobs) this.end(job, "cancelled"); }
  end(job, state, words = "") {
    if (!["waiting", "running"].includes(job.state)) return;
    const before = job.state;
    job.state = state; job.xhr?.abort(); job.wake?.();
    job.row.classList.add(state); job.stop.hidden = true; job.facts.textContent = words || this.host.w[state] || "";
    if (state === "done") job.line.style.width = "100%";
    if (state === "cancelled" && job.id && before === "running") { call("DELETE", `${this.host.api}/uploads/${job.id}`, { quiet: true }); this.remember(job, null); }
    this.tell();
  }
  tell() {
    const done = this.jobs.filter((job) => job.state === "done").length;
    this.box.querySelector("[data-fm=uploads-title]").textContent = fill(this.host.w.uploads, done, this.jobs.length);
    this.box.querySelector("[data-fm=uploads-cancel]").hidden = !this.busy;
  }
  pump() {
    this.tell();
    while (this.jobs.filter((job) => job.state === "running").length < AT_ONCE) {
      const job = this.jobs.find((one) => one.state === "waiting");
      if (!job) break;
      job.state = "running";
      this.run(job).catch((error) => this.end(job, "failed", String(error.message || error))).finally(() => { this.pump(); if (!this.busy) { this.forAll = ""; this.changed(); } });
    }
  }
  async begin(job) {
    const old = this.remembered(job);
    if (old) {
      const state = await this.ask(job, "GET", `/uploads/${old}`);
      if (state.ok) { job.id = old; job.facts.textContent = fill(this.host.w.resumed, bytes(state.body.offset)); return state.body; }
    }
    for (;;) {
      const made = await this.ask(job, "POST", "/uploads", { path: job.path, size: job.file.size, overwrite: job.overwrite });
      if (made.ok) { job.id = made.body.id; this.remember(job, job.id); return made.body; }
      if (made.status !== 409 || made.body.code !== "exists" || job.overwrite) throw new Error(made.body.detail || `${made.status}`);
      this.asking = (this.asking ?? Promise.resolve()).then(() => (job.state === "running" ? this.asks(job.path) : null));
      const wish = await this.asking;
      if (job.state !== "running") return null;
      if (wish !== "yes") { this.end(job, "skipped"); return null; }
      job.overwrite = true;
    }
  }
  // one answer of the API; waits and tries again while the panel can't be reached
  async ask(job, method, path, body) {
    for (let turn = 0; ; turn++) {
      try {
        const answer = await fetch(this.host.api + path, { method, credentials: "same-origin", headers: { Accept: "application/json", "X-CSRFToken": csrf(), ...(body ? { "Content-Type": "application/json" } : {}) }, body: body && JSON.stringify(body) });
        if (answer.status < 500 && answer.status !== 429) { const text = await answer.text(); return { ok: answer.ok, status: answer.status, body: text ? JSON.parse(text) : {} }; }
        if (turn >= TRIES) return { ok: false, status: answer.status, body: await answer.json().catch(() => ({})) };
      } catch (error) { if (turn >= TRIES) throw error; }
      await this.pause(job, turn);
      if (job.state !== "running") return { ok: false, status: 0, body: {} };
    }
  }
  pause(job, turn) { job.facts.textContent = this.host.w.retry; return new Promise((done) => { job.wake = done; setTimeout(done, Math.min(LONGEST_MS, WAIT_MS * 2 ** turn)); }); }
  async run(job) {
    let state = await this.begin(job), lost = 0;
    if (!state) return;
    const size = job.file.size, step = Math.max(1, state.chunk_bytes || 4 * 1024 * 1024);
    job.startedAt = performance.now(); job.from = state.offset;
    let offset = state.offset;
    while (job.state === "running") {
      const done = await this.piece(job, offset, job.file.slice(offset, Math.min(size, offset + step)));
      if (job.state !== "running") return;
      if (done.ok) { offset = done.body.offset; lost = 0; if (done.body.entry) { this.remember(job, null); this.end(job, "done", bytes(size)); return; } continue; }
      if (done.status === 404) { this.remember(job, null); throw new Error(done.body.detail); }
      if (done.status && done.status < 500 && done.status !== 409 && done.status !== 429) { this.remember(job, null); call("DELETE", `${this.host.api}/uploads/${job.id}`, { quiet: true }); throw new Error(done.body.detail || `${done.status}`); }
      if (done.body.code === "exists") { throw new Error(done.body.detail); }
      if (++lost > TRIES) throw new Error(done.body.detail || document.body.dataset.offline);
      await this.pause(job, lost - 1);
      if (job.state !== "running") return;
      const fresh = await this.ask(job, "GET", `/uploads/${job.id}`);
      if (!fresh.ok) throw new Error(fresh.body.detail || document.body.dataset.offline);
      offset = fresh.body.offset;
    }
  }
  piece(job, offset, blob) {
    return new Promise((done) => {
      const xhr = (job.xhr = new XMLHttpRequest());
      xhr.open("PUT", `${this.host.api}/uploads/${job.id}?offset=${offset}`);
      xhr.setRequestHeader("X-CSRFToken", csrf()); xhr.setRequestHeader("Content-Type", "application/octet-stream"); xhr.setRequestHeader("Accept", "application/json");
      xhr.upload.onprogress = (event) => this.progress(job, offset + event.loaded);
      const end = () => { let body = {}; try { body = JSON.parse(xhr.responseText); } catch { /* none */ } done({ ok: xhr.status >= 200 && xhr.status < 300, status: xhr.status, body }); };
      xhr.onload = end; xhr.onerror = end; xhr.onabort = end; xhr.ontimeout = end; xhr.timeout = 180000;
      xhr.send(blob);
    });
  }
  progress(job, sent) {
    if (job.state !== "running") return;
    const size = job.file.size || 1, seconds = (performance.now() - job.startedAt) / 1000, speed = seconds > 0.3 ? (sent - job.from) / seconds : NaN;
    job.line.style.width = `${Math.min(100, (100 * sent) / size)}%`;
    const left = speed > 0 && seconds > 2 ? ` · ${fill(this.host.w.left, span((size - sent) / speed))}` : "";
    job.facts.textContent = `${fill(this.host.w.of, bytes(sent), bytes(size))}${Number.isFinite(speed) ? ` · ${rate(speed)}` : ""}${left}`;
  }
}
