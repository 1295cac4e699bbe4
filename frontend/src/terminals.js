// <lm-terminals>: terminals that live on the node, commands, processes and recordings of one container.
import { call, fail } from "./api.js";
import { absolute, ago, bytes, span, when } from "./format.js";
import { socket } from "./socket.js";
import { say, toast } from "./ui.js";

const fill = (text, ...values) => values.reduce((kept, value) => kept.replace(/%[ds]/, String(value)), text);
const REFRESH_MS = 4000, SETTLED_MS = 1200, MOST_OUTPUT = 400000;
const element = (name, props = {}, ...children) => { const made = Object.assign(document.createElement(name), props); made.append(...children); return made; };

class Terminals extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.api = this.dataset.api; this.container = this.dataset.container;
    this.w = Object.fromEntries(Object.entries(this.dataset).filter(([key]) => /^w[A-Z]/.test(key)).map(([key, value]) => [key[1].toLowerCase() + key.slice(2), value]));
    this.tabs = new Map(); this.strip = this.querySelector(".tm-tabs [role=tablist]"); this.stage = this.querySelector(".tm-stage"); this.off = this.querySelector(".tm-off");
    this.addEventListener("click", (event) => { const hit = event.target.closest("[data-tm]"); if (hit && this.do[hit.dataset.tm]) this.do[hit.dataset.tm].call(this, hit); });
    this.addEventListener("keydown", (event) => { if (event.target.getAttribute?.("role") === "tab" && ["ArrowLeft", "ArrowRight"].includes(event.key)) { const all = [...event.target.parentElement.querySelectorAll("[role=tab]")]; all[(all.indexOf(event.target) + (event.key === "ArrowRight" ? 1 : -1) + all.length) % all.length].focus(); } });
    this.heard = (event) => this.message(event.detail);
    socket.addEventListener("message", this.heard);
    this.turned = () => { if (socket.state === "lost") for (const tab of this.tabs.values()) tab.note(this.w.lost); };
    socket.addEventListener("state", this.turned);
    this.querySelector(".tm-run").addEventListener("submit", (event) => { event.preventDefault(); this.run(event.target.elements.command.value); });
    this.querySelector("[data-tm=everybody]")?.addEventListener("change", () => this.history());
    this.player();
    new ResizeObserver(() => { clearTimeout(this.fitTimer); this.fitTimer = setTimeout(() => this.active?.fit(), 80); }).observe(this.stage);
    if (this.dataset.running) this.begin();
    else addEventListener("lormas:patched", (this.started = () => { if (document.querySelector("#container-head .state.green, .head .state.green")) { removeEventListener("lormas:patched", this.started); this.begin(); } }));
    const wanted = location.hash.slice(1);
    if (["commands", "processes", "recordings"].includes(wanted)) this.view(wanted);
  }
  disconnectedCallback() { socket.removeEventListener("message", this.heard); socket.removeEventListener("state", this.turned); clearInterval(this.poll); socket.unsubscribe("terminals"); for (const tab of [...this.tabs.values()]) tab.leave(); this.ready = false; }

  begin() { this.off.hidden = true; socket.subscribe("terminals", () => ({ type: "terminal_list", id: "terms", container_id: this.container })); }
  listed(names) {
    for (const name of names) this.add(name, { select: false });
    if (!this.active || !this.tabs.has(this.active.name)) this.select(names.includes("main") || !names.length ? this.add("main", { select: false }) : this.tabs.get(names[0]));
  }
  add(name, { select = true } = {}) {
    let tab = this.tabs.get(name);
    if (!tab) { tab = new Tab(this, name); this.tabs.set(name, tab); this.strip.append(tab.button); }
    if (select) this.select(tab);
    return tab;
  }
  async select(tab) {
    this.active = tab;
    for (const one of this.tabs.values()) { one.button.setAttribute("aria-selected", String(one === tab)); one.button.tabIndex = one === tab ? 0 : -1; one.place.hidden = one !== tab; }
    if (tab) { await tab.show(); tab.tell(); } else for (const name of ["viewers", "recorded", "kill"]) { const el = this.querySelector(`[data-tm=${name}]`); if (name === "viewers") el.textContent = ""; else el.hidden = true; }
    this.off.hidden = !!this.tabs.size;
  }
  message(m) {
    if (m.type === "terminals" && m.reply_to === "terms") { this.listed(m.terminals.map((one) => one.name)); return; }
    if (m.type === "error" && m.reply_to === "terms") { this.off.hidden = !!this.tabs.size; this.off.querySelector("h2").textContent = this.off.dataset.trouble; this.off.querySelector("p").textContent = m.message; return; }
    if (m.type === "terminal_opened" && typeof m.reply_to === "string" && m.reply_to.startsWith("term:")) { if (m.container_id === this.container) this.tabs.get(m.name)?.opened(m); return; }
    if (m.terminal_id) {
      const tab = [...this.tabs.values()].find((one) => one.id === m.terminal_id);
      if (!tab) return;
      if (m.type === "terminal_output") tab.output(m);
      else if (m.type === "terminal_resized") tab.resized(m);
      else if (m.type === "terminal_closed") tab.closed(m);
    } else if (m.type === "error" && String(m.reply_to ?? "").startsWith("term:")) this.tabs.get(String(m.reply_to).slice(5))?.refused(m);
    else if (m.reply_to === "run") this.ran(m);
    else if (m.type === "container" && m.id === this.container && m.status && m.status !== "running") for (const tab of this.tabs.values()) tab.note("");
  }
  view(name) {
    for (const button of this.querySelectorAll(".tm-bar [role=tab]")) button.setAttribute("aria-selected", String(button.dataset.tm === name));
    for (const part of this.querySelectorAll(".tm-view")) part.hidden = part.dataset.view !== name;
    history.replaceState(null, "", name === "terminals" ? location.pathname : `#${name}`);
    clearInterval(this.poll);
    if (name === "processes") { this.processes(); this.poll = setInterval(() => { if (!document.hidden) this.processes(true); }, REFRESH_MS); }
    if (name === "commands") { this.history(); this.querySelector("#tm-command").focus(); }
    if (name === "recordings") this.recordings();
    if (name === "terminals") { this.active?.fit(); this.active?.focus(); }
    for (const part of ["viewers", "recorded", "kill"]) if (name !== "terminals") { const el = this.querySelector(`[data-tm=${part}]`); if (part === "viewers") el.textContent = ""; else el.hidden = true; }
    if (name === "terminals") this.active?.tell();
  }
  do = {
    terminals() { this.view("terminals"); }, commands() { this.view("commands"); }, processes() { this.view("processes"); }, recordings() { this.view("recordings"); },
    new() { if (!this.off.hidden && !this.dataset.running) return; let number = this.tabs.size + 1; while (this.tabs.has(`term-${number}`)) number++; this.add(this.tabs.has("main") ? `term-${number}` : "main"); },
    kill() { if (this.active && confirm(this.w.kill)) socket.send({ type: "terminal_close", terminal_id: this.active.id, kill: true }); },
    full(button) { const on = button.getAttribute("aria-pressed") !== "true"; button.setAttribute("aria-pressed", String(on)); this.classList.toggle("full", on); this.active?.fit(); this.active?.focus(); },
    cancel() { socket.send({ type: "cancel", id: "run" }); },
    play() { this.film?.toggle(); }, "player-close"() { this.film?.end(); this.film = null; this.querySelector(".tm-player").hidden = true; },
  };

  // ------------------------------------------------------------------ commands
  run(command) {
    if (!command.trim()) return;
    const out = this.querySelector(".tm-out");
    out.hidden = false; out.textContent = ""; out.append(element("b", { textContent: `$ ${command}\n` }));
    this.size = 0;
    if (!socket.send({ type: "execute_command", id: "run", container_id: this.container, command })) { toast({ title: document.body.dataset.offline, text: document.body.dataset.offlineHelp, id: "toast-offline" }); return; }
    this.querySelector("[data-tm=cancel]").hidden = false;
  }
  ran(m) {
    const out = this.querySelector(".tm-out"), low = out.scrollHeight - out.scrollTop - out.clientHeight < 30;
    if (m.type === "output") {
      if (this.size > MOST_OUTPUT) return;
      this.size += m.data.length;
      out.append(element("span", { className: m.stream === "stderr" ? "err" : "", textContent: m.data }));
      if (this.size > MOST_OUTPUT) out.append(element("i", { textContent: `\n${this.w.cut}\n` }));
    } else if (m.type === "exit" || m.type === "error") {
      out.append(element("i", { className: m.code === 0 ? "ok" : "err", textContent: m.type === "exit" ? `\n${fill(this.w.code, m.code ?? "?")}\n` : `\n${m.message}\n` }));
      this.querySelector("[data-tm=cancel]").hidden = true; this.querySelector("#tm-command").select();
      setTimeout(() => this.history(), 400);
    }
    if (low) out.scrollTop = out.scrollHeight;
  }
  async history() {
    const all = this.querySelector("[data-tm=everybody]")?.checked, found = await call("GET", `${this.api}/exec/history?page_size=50${all ? "&everybody=true" : ""}`, { title: this.w.failed });
    if (!found) return;
    this.table("history", found.results, (row) => {
      const word = row.kind === "terminal" ? element("span", {}, `${this.w.term} `, element("code", { textContent: row.command })) : element("code", { className: "tm-cmd", textContent: row.command });
      const again = row.kind === "command" ? element("button", { type: "button", className: "btn ghost s", textContent: this.w.again, onclick: () => { this.querySelector("#tm-command").value = row.command; this.run(row.command); } }) : "";
      const at = when(row.started_at), state = row.error || (row.finished_at ? (row.exit_code === null ? "" : fill(this.w.code, row.exit_code)) : this.w.running);
      return [[word, "tm-grow"], [all ? row.user : "", "hide-s mute"], [element("span", { className: row.exit_code || row.error ? "err" : "mute", textContent: state }), "tight"], [element("time", { textContent: ago(at), title: absolute(at) }), "tight mute hide-s"], [again, "tight"]];
    });
  }
  table(name, rows, cells) {
    const place = this.querySelector(`[data-tm="${name}"]`);
    if (!rows.length) { place.replaceChildren(element("p", { className: "empty s", textContent: this.w.nothing })); return; }
    const body = element("tbody");
    for (const row of rows) body.append(element("tr", {}, ...cells(row).map(([content, classes]) => element("td", { className: classes }, content))));
    place.replaceChildren(element("table", { className: "tbl small" }, body));
  }

  // ------------------------------------------------------------------ processes
  async processes(quiet = false) {
    const found = await call("GET", `${this.api}/processes`, { quiet, title: this.w.failed });
    if (!found) return;
    const place = this.querySelector("[data-tm=process-list]"), focus = place.contains(document.activeElement) ? document.activeElement.dataset.pid : null;
    this.table("process-list", found.processes, (one) => {
      const button = element("button", { type: "button", className: "btn ghost s", textContent: this.querySelector("[data-tm=signal]").value, onclick: () => this.signal(one.pid) });
      button.dataset.pid = one.pid;
      return [[String(one.pid), "mono num tight"], [element("span", {}, element("code", { className: "tm-cmd", textContent: one.command || "?" }), one.is_exec ? element("span", { className: "tag", textContent: "exec" }) : ""), "tm-grow"], [one.user, "mute hide-m"], [bytes(one.memory_bytes), "num tight hide-s"], [`${one.cpu_seconds.toFixed(1)} s`, "num tight hide-s"], [one.state, "mono mute tight hide-s"], [element("time", { textContent: span(Date.now() / 1000 - one.started_at_unix), title: absolute(when(one.started_at_unix)) }), "tight mute hide-m"], [button, "tight"]];
    });
    if (focus) place.querySelector(`[data-pid="${focus}"]`)?.focus();
    const choice = this.querySelector("[data-tm=signal]");
    choice.onchange ??= () => { for (const button of place.querySelectorAll("[data-pid]")) button.textContent = choice.value; };
  }
  async signal(pid) {
    const name = this.querySelector("[data-tm=signal]").value;
    if (!confirm(fill(this.w.signal, name, pid))) return;
    if (await call("POST", `${this.api}/processes/${pid}/signal`, { body: { signal: name }, title: this.w.failed })) { say(fill(this.w.sent, name, pid)); setTimeout(() => this.processes(true), 300); }
  }

  // ------------------------------------------------------------------ recordings
  async recordings() {
    const found = await call("GET", `${this.api}/recordings`, { title: this.w.failed });
    if (!found) return;
    this.table("recording-list", found.recordings, (one) => {
      const at = when(one.started_at_unix), url = `${this.api}/recordings/${one.id}`;
      const play = element("button", { type: "button", className: "btn s", textContent: this.w.show, onclick: () => this.watch(url) });
      const take = element("a", { className: "btn ghost s hide-s", href: url, textContent: this.w.download }); take.setAttribute("download", `${one.name}.cast`);
      const drop = this.dataset.mayEdit ? element("button", { type: "button", className: "btn ghost s danger hide-s", textContent: this.w.remove, onclick: async () => { if (confirm(this.w.delete) && (await call("DELETE", url, { title: this.w.failed }))) this.recordings(); } }) : "";
      return [[element("span", { className: "mono", textContent: one.name }), "tm-grow"], [one.opened_by, "mute hide-s"], [element("time", { textContent: ago(at), title: absolute(at) }), "tight mute"], [span(one.seconds), "tight num"], [bytes(one.bytes), "tight num hide-s"], [element("span", { className: "row-x" }, play, take, drop), "tight"]];
    });
  }
  player() {
    const seek = this.querySelector("[data-tm=seek]");
    seek.addEventListener("input", () => this.film?.seek(Number(seek.value)));
    this.querySelector("[data-tm=speed]").addEventListener("change", (event) => { if (this.film) this.film.speed = Number(event.target.value); });
  }
  async watch(url) {
    const answer = await fetch(url, { credentials: "same-origin" }).catch(() => null);
    if (!answer?.ok) { if (answer) fail(this.w.failed, answer); return; }
    const [{ Film }, text] = await Promise.all([import("./film.js"), answer.text()]);
    this.film?.end();
    this.querySelector(".tm-player").hidden = false;
    this.film = new Film(this, text);
    this.film.toggle();
    this.querySelector(".tm-player").scrollIntoView({ block: "nearest" });
  }
}

class Tab {
  constructor(host, name) {
    this.host = host; this.name = name; this.id = null; this.viewers = 0;
    this.place = element("div", { className: "tm-place", hidden: true });
    this.words = element("div", { className: "tm-note", hidden: true });
    this.button = element("button", { type: "button", textContent: name, onclick: () => host.select(this) });
    this.button.setAttribute("role", "tab");
    host.stage.append(this.place);
  }
  get key() { return `terminal:${this.host.container}:${this.name}`; }
  async show() {
    if (this.made) { this.fit(); this.focus(); return; }
    if (this.loading) return;
    this.loading = true;
    const { makeTerminal } = await import("./term.js");
    const box = element("div", { className: "tm-box" });
    this.place.append(box, this.words);
    this.made = makeTerminal(box, { label: `${this.host.w.term} ${this.name}`, answers: () => this.viewers === 1 && performance.now() - this.openedAt > SETTLED_MS });
    this.made.fit();
    this.made.term.onData((data) => { if (!this.id) { this.early = ((this.early ?? "") + data).slice(0, 4096); return; } if (!socket.send({ type: "terminal_input", terminal_id: this.id, data })) this.note(this.host.w.lost); });
    this.made.term.onBinary((data) => { if (this.id) socket.send({ type: "terminal_input", terminal_id: this.id, data }); });
    this.made.term.onResize(({ cols, rows }) => { if (this.id && !this.theirs) socket.send({ type: "terminal_resize", terminal_id: this.id, cols, rows }); });
    socket.subscribe(this.key, () => ({ type: "terminal_open", id: `term:${this.name}`, container_id: this.host.container, name: this.name, cols: this.made.term.cols, rows: this.made.term.rows }));
    this.focus();
  }
  fit() { if (!this.place.hidden) this.made?.fit(); }
  focus() { this.made?.term.focus(); }
  note(text) { this.words.textContent = text; this.words.hidden = !text; }
  tell() {
    if (this.host.active !== this) return;
    const find = (name) => this.host.querySelector(`[data-tm=${name}]`);
    find("viewers").textContent = this.id ? (this.viewers > 1 ? fill(this.host.w.viewers, this.viewers) : this.host.w.alone) : "";
    find("recorded").hidden = !(this.id && this.recorded); find("kill").hidden = !this.id;
  }
  opened(m) { this.id = m.terminal_id; this.viewers = m.viewers ?? 1; this.recorded = m.recorded; this.openedAt = performance.now(); this.note(""); this.made.term.reset(); this.made.term.options.disableStdin = false; this.ended = false; this.sized(m); this.tell(); this.fit(); const { cols, rows } = this.made.term; if (cols !== m.cols || rows !== m.rows) socket.send({ type: "terminal_resize", terminal_id: this.id, cols, rows }); if (this.early) socket.send({ type: "terminal_input", terminal_id: this.id, data: this.early }); this.early = ""; }
  output(m) { if (m.skipped) this.openedAt = performance.now(); this.made.term.write(m.data); }
  sized(m) { if (m.viewers) this.viewers = m.viewers; }
  resized(m) { this.sized(m); this.recorded = m.recorded; this.tell(); const { term } = this.made; if (m.cols && m.rows && (term.cols !== m.cols || term.rows !== m.rows) && this.viewers > 1) { this.theirs = true; term.resize(m.cols, m.rows); this.theirs = false; } }
  closed(m) {
    socket.unsubscribe(this.key); this.id = null;
    this.made.term.options.disableStdin = true;
    const text = m.message || (m.code === null || m.code === undefined ? this.host.w.endedPlain : fill(this.host.w.ended, m.code));
    this.made.term.write(`\r\n\x1b[2m${text}\x1b[0m\r\n`);
    this.tell(); this.drop(1500);
  }
  refused(m) { socket.unsubscribe(this.key); this.id = null; this.note(m.message); if (m.code !== "not_running") toast({ title: this.host.w.failed, text: m.message }); this.tell(); if (m.code === "not_running") this.drop(4000); }
  drop(wait) { setTimeout(() => { if (this.id) return; this.leave(); const rest = [...this.host.tabs.values()]; if (this.host.active === this) this.host.select(rest.at(-1)); }, wait); }
  leave() { socket.unsubscribe(this.key, this.id ? { type: "terminal_close", terminal_id: this.id } : null); this.made?.end(); this.place.remove(); this.button.remove(); this.host.tabs.delete(this.name); }
}
customElements.define("lm-terminals", Terminals);
