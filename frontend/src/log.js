// <lm-log>: a container's log, live. Lines come over the socket from the last seq seen; older ones from GET /api/containers/{id}/logs?before=.
import { render, strip } from "./ansi.js";
import { absolute, clock, when } from "./format.js";
import { LEVELS, detect } from "./levels.js";
import { socket } from "./socket.js";
import { say, toast } from "./ui.js";

const BLOCK = 100, KEEP = 6000, KEEP_PAUSED = 20000, PAGE = 500;
const KIND = { error: "e", events: "v", startup: "s", input: "in" };

class Log extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.container = this.dataset.container;
    this.words = this.dataset;
    this.view = this.querySelector(".log-view"); this.empty = this.querySelector(".log-empty"); this.fresh = this.querySelector(".log-new");
    this.find = this.querySelector("[data-log=find]"); this.hitsBox = this.querySelector("[data-log=hits]"); this.stream = this.querySelector("[data-log=stream]"); this.level = this.querySelector("[data-log=level]");
    this.lines = []; this.blocks = []; this.queue = []; this.last = 0; this.first = Infinity; this.follow = true; this.paused = false; this.unseen = 0; this.hit = -1; this.onlyHits = false;
    this.stick = () => { if (this.follow) this.view.scrollTop = this.view.scrollHeight; };
    this.view.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.view.addEventListener("wheel", (event) => { if (event.deltaY < 0 && this.view.scrollHeight > this.view.clientHeight) this.setFollow(false); }, { passive: true });
    // only a hand stops the following: old blocks that go, and a view that grows, move the scroll position too
    for (const kind of ["wheel", "touchmove", "keydown"]) this.view.addEventListener(kind, () => { this.handAt = performance.now(); }, { passive: true });
    this.view.addEventListener("pointerdown", () => { this.dragging = true; });
    addEventListener("pointerup", () => { this.dragging = false; });
    new ResizeObserver(this.stick).observe(this.view);
    this.addEventListener("click", (event) => this.clicked(event));
    this.find?.addEventListener("input", () => { clearTimeout(this.findTimer); this.findTimer = setTimeout(() => this.search(), 120); });
    this.find?.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); this.jump(event.shiftKey ? -1 : 1); } else if (event.key === "Escape") { this.find.value = ""; this.search(); } });
    for (const choice of [this.stream, this.level]) choice?.addEventListener("change", () => this.again());
    for (const name of ["wrap", "times"]) { let wish = null; try { wish = localStorage.getItem(`lormas-log-${name}`); } catch { /* private mode */ } this.toggle(name, wish === null ? name === "wrap" : wish === "1"); }
    this.command();
    this.heard = (event) => this.message(event.detail);
    socket.addEventListener("message", this.heard);
    socket.subscribe(`log:${this.container}`, () => ({ type: "subscribe_logs", container_id: this.container, ...(this.last ? { after: this.last } : { tail: PAGE }) }));
    this.note = setTimeout(() => { if (!this.lines.length) this.say(this.words.none); }, 1500);
    addEventListener("keydown", (event) => { if (event.key === "f" && (event.ctrlKey || event.metaKey) && this.contains(document.activeElement)) { event.preventDefault(); this.find?.focus(); } });
  }
  disconnectedCallback() {
    socket.removeEventListener("message", this.heard);
    socket.unsubscribe(`log:${this.container}`, { type: "unsubscribe_logs", container_id: this.container });
    this.ready = false;
  }
  say(text) { if (this.empty) { this.empty.hidden = !text; if (text) this.empty.querySelector("p").textContent = text; } }

  message(m) {
    if (m.container_id && m.container_id !== this.container) return;
    if (m.type === "log") this.take(m.lines);
    else if (m.type === "skipped") { this.gap(this.words.skipped.replace("%d", m.count)); if (m.resume_after > this.last) this.last = m.resume_after; }
    else if (m.type === "log_waiting") this.gap(m.message);
    else if (m.type === "error" && m.code && m.reply_to === "stdin") toast({ title: this.words.failed, text: m.message ?? "" });
    else if (m.type === "log_cleared") { this.reset(); }
  }
  take(rows) {
    for (const [seq, time, stream, text] of rows) {
      if (seq <= this.last) continue;
      if (this.last && seq > this.last + 1 && stream !== "events") this.queue.push({ gap: seq - this.last - 1, after: this.last, before: seq });
      this.last = seq; if (seq < this.first) this.first = seq;
      this.queue.push({ seq, time, stream, raw: text });
    }
    if (this.queue.length && !this.frame) this.frame = requestAnimationFrame(() => this.flush());
  }
  gap(text) { this.queue.push({ words: text }); if (!this.frame) this.frame = requestAnimationFrame(() => this.flush()); }

  flush() {
    this.frame = 0;
    if (this.paused) { const over = this.queue.length - KEEP_PAUSED; if (over > 0) this.queue.splice(0, over); this.unseen = this.queue.length; this.showFresh(); return; }
    clearTimeout(this.note); this.say("");
    let batch = this.queue; this.queue = [];
    if (batch.length > KEEP) batch = batch.slice(-KEEP);
    for (const line of batch) this.add(line);
    const limit = this.follow ? KEEP : KEEP_PAUSED;
    while (this.lines.length > limit && this.blocks.length > 1) {
      const block = this.blocks.shift(); this.lines.splice(0, block.childElementCount); block.remove();
      this.first = this.lines.find((line) => line.seq)?.seq ?? this.first;
    }
    if (this.find?.value) this.count();
    if (!this.follow) { this.unseen += batch.length; this.showFresh(); } else requestAnimationFrame(this.stick);
  }
  add(line, block) {
    if (!block) {
      block = this.blocks[this.blocks.length - 1];
      if (!block || block.childElementCount >= BLOCK) { block = document.createElement("div"); block.className = "blk"; this.blocks.push(block); this.view.append(block); }
      this.lines.push(line);
    }
    block.append(this.row(line));
  }
  row(line) {
    const row = document.createElement("div");
    line.el = row;
    if (line.gap || line.words) {
      row.className = "ln gap"; row.textContent = line.words ?? this.words.gap.replace("%d", line.gap);
      return row;
    }
    const kind = KIND[line.stream], at = when(line.time);
    line.level = line.stream === "application" || line.stream === "error" ? detect(strip(line.raw ?? "")) : "";
    row.className = `ln${kind ? ` ${kind}` : ""}${line.level === "warn" || line.level === "error" ? ` l-${line.level}` : line.level === "debug" ? " l-debug" : ""}`;
    row.title = `${absolute(at)}${line.stream === "application" ? "" : ` · ${line.stream === "error" ? "stderr" : line.stream}`}`;
    const time = document.createElement("time"); time.textContent = clock(at); row.append(time);
    const text = document.createElement("span"); render(text, line.raw); row.append(text);
    line.text = undefined;
    if (!this.fits(line)) row.hidden = true;
    else if (this.needle && this.textOf(line).includes(this.needle)) row.classList.add("hit");
    return row;
  }
  textOf(line) { return (line.text ??= strip(line.raw ?? "").toLowerCase()); }
  fits(line) {
    const wish = this.stream?.value;
    if (wish && line.stream !== wish && !(line.gap || line.words)) return false;
    // lines that don't say count as info, as in the search over all logs
    if (this.level?.value && !(line.gap || line.words) && LEVELS.indexOf(line.level || "info") < LEVELS.indexOf(this.level.value)) return false;
    return !(this.onlyHits && this.needle && !this.textOf(line).includes(this.needle));
  }
  reset() { this.lines = []; this.blocks = []; this.view.replaceChildren(); this.first = Infinity; this.done = false; this.say(this.words.none); }

  // following and pausing
  scrolled() {
    const gap = this.view.scrollHeight - this.view.scrollTop - this.view.clientHeight;
    if (gap < 12) { if (!this.follow) this.setFollow(true); } else if (gap > 60 && this.follow && (this.dragging || performance.now() - (this.handAt ?? -1e9) < 800) && this.lastTop !== undefined && this.view.scrollTop < this.lastTop) this.setFollow(false);
    this.lastTop = this.view.scrollTop;
    if (this.view.scrollTop < 200) this.older();
  }
  setFollow(on) { if (this.follow === on) return; this.follow = on; if (on) { this.unseen = 0; this.showFresh(); } }
  showFresh() { if (this.fresh) { this.fresh.hidden = !this.unseen; const n = this.fresh.querySelector("span"); if (n) n.textContent = this.words.fresh.replace("%d", this.unseen); } }
  setPaused(on) {
    this.paused = on; const button = this.querySelector("[data-log=pause]");
    if (button) { button.setAttribute("aria-pressed", String(on)); for (const part of button.querySelectorAll("[data-when]")) part.hidden = (part.dataset.when === "paused") !== on; }
    if (!on) { this.unseen = 0; this.follow = true; this.flush(); this.showFresh(); requestAnimationFrame(this.stick); }
  }
  toggle(name, on) {
    const button = this.querySelector(`[data-log=${name}]`);
    this.view.classList.toggle(name, on); button?.setAttribute("aria-pressed", String(on));
    try { localStorage.setItem(`lormas-log-${name}`, on ? "1" : "0"); } catch { /* private mode */ }
    requestAnimationFrame(this.stick);
  }
  clicked(event) {
    const button = event.target.closest("[data-log]"); if (!button) return;
    const what = button.dataset.log;
    if (what === "wrap" || what === "times") this.toggle(what, button.getAttribute("aria-pressed") !== "true");
    else if (what === "pause") this.setPaused(!this.paused);
    else if (what === "bottom") { if (this.paused) this.setPaused(false); this.setFollow(true); this.view.scrollTop = this.view.scrollHeight; }
    else if (what === "next") this.jump(1);
    else if (what === "only") { this.onlyHits = !this.onlyHits; button.setAttribute("aria-pressed", String(this.onlyHits)); this.again(); }
    else if (what === "copy") this.copy();
  }
  async copy() {
    const picked = String(getSelection() ?? "");
    const text = picked && this.view.contains(getSelection().anchorNode) ? picked : this.lines.filter((line) => line.raw !== undefined && this.fits(line)).map((line) => strip(line.raw)).join("\n");
    try { await navigator.clipboard.writeText(text); say(document.body.dataset.copied); toast({ tone: "green", title: document.body.dataset.copied, id: "toast-copied" }); setTimeout(() => document.getElementById("toast-copied")?.remove(), 2000); } catch { toast({ title: this.words.nocopy }); }
  }
  // search in what is loaded
  search() { this.needle = (this.find?.value ?? "").toLowerCase(); this.hit = -1; this.again(); }
  again() {
    for (const line of this.lines) {
      if (!line.el || line.gap || line.words) continue;
      line.el.hidden = !this.fits(line); line.el.classList.toggle("hit", !!this.needle && this.textOf(line).includes(this.needle));
    }
    this.count(); requestAnimationFrame(this.stick);
  }
  found() { return this.needle ? this.lines.filter((line) => line.raw !== undefined && !line.el.hidden && this.textOf(line).includes(this.needle)) : []; }
  count() { if (!this.hitsBox) return; const n = this.found().length; this.hitsBox.textContent = this.needle ? `${this.hit >= 0 ? `${this.hit + 1}/` : ""}${n}` : ""; }
  jump(step) {
    const all = this.found(); if (!all.length) return;
    this.hit = this.hit < 0 ? (step > 0 ? all.length - 1 : 0) : (this.hit + step + all.length) % all.length;
    this.setFollow(false); all[this.hit].el.scrollIntoView({ block: "center" }); this.count();
  }
  // what lies before
  async older() {
    if (this.loading || this.done || !Number.isFinite(this.first) || this.lines.length > KEEP_PAUSED) return;
    this.loading = true;
    try {
      const answer = await fetch(`/api/containers/${this.container}/logs?before=${this.first}&tail=${PAGE}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const body = await answer.json();
      const rows = (Array.isArray(body) ? body : body.lines ?? body.results ?? []).map((row) => (Array.isArray(row) ? row : [row.seq, row.time, row.stream, row.text])).filter((row) => row[0] < this.first);
      if (!rows.length) { this.done = true; return; }
      const block = document.createElement("div"); block.className = "blk";
      const made = rows.map(([seq, time, stream, raw]) => ({ seq, time, stream, raw }));
      for (const line of made) this.add(line, block);
      const before = this.view.scrollHeight;
      this.view.prepend(block); this.blocks.unshift(block); this.lines.unshift(...made); this.first = made[0].seq;
      if (this.follow) this.stick(); else if (getComputedStyle(this.view).overflowAnchor === "none") this.view.scrollTop += this.view.scrollHeight - before;
    } catch { this.done = true; } finally { this.loading = false; }
  }
  // the command line
  command() {
    const form = this.querySelector("form.log-cmd"); if (!form) return;
    const box = form.querySelector("input[name=command]"), key = `lormas-cmd-${this.container}`;
    let past = []; try { past = JSON.parse(localStorage.getItem(key) ?? "[]"); } catch { /* none */ }
    let at = past.length, draft = "";
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const command = box.value; if (!command.trim()) return;
      if (!socket.send({ type: "container_command", id: "stdin", container_id: this.container, command })) { toast({ title: this.words.unsent, text: this.words.unsentHelp, id: "toast-unsent" }); return; }
      this.queue.push({ time: Date.now() / 1000, stream: "input", raw: `> ${command}` }); this.setFollow(true); this.flush();
      past = [...past.filter((old) => old !== command), command].slice(-100); at = past.length; draft = ""; box.value = "";
      try { localStorage.setItem(key, JSON.stringify(past)); } catch { /* private mode */ }
    });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
      event.preventDefault();
      if (at === past.length) draft = box.value;
      at = Math.max(0, Math.min(past.length, at + (event.key === "ArrowUp" ? -1 : 1)));
      box.value = at === past.length ? draft : past[at]; box.setSelectionRange(box.value.length, box.value.length);
    });
  }
}
customElements.define("lm-log", Log);
