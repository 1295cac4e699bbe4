// <lm-files>: the files of a container. The list is the server's HTML, fetched anew after each act; acts, uploads and content go by the API.
import { fail, call, csrf } from "./api.js";
import { tick, say, toast } from "./ui.js";
import { bytes } from "./format.js";
import { Uploads, dropped } from "./uploads.js";
import { Ask } from "./ask.js";

const fill = (text, ...values) => values.reduce((kept, value) => kept.replace(/%[ds]/, String(value)), text);
const base = (path) => path.slice(path.lastIndexOf("/") + 1);
const folderOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf("/")));
const join = (folder, name) => (folder ? `${folder}/${name}` : name);

class Files extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.api = this.dataset.api; this.page = this.dataset.home;
    this.list = this.querySelector(".fm-list"); this.editorBox = this.querySelector(".fm-editor"); this.menu = this.querySelector(".fm-menu");
    this.w = Object.fromEntries(Object.entries(this.dataset).filter(([key]) => /^w[A-Z]/.test(key)).map(([key, value]) => [key[1].toLowerCase() + key.slice(2), value]));
    this.texts = this.querySelector("template[data-texts]").dataset;
    this.ask = new Ask(this.querySelector(".fm-ask"));
    this.uploads = new Uploads(this, () => this.reload(), (path) => this.asksReplace(path));
    this.addEventListener("click", (event) => this.clicked(event));
    this.addEventListener("change", (event) => this.changed(event));
    this.addEventListener("keydown", (event) => this.pressed(event));
    this.addEventListener("contextmenu", (event) => { const row = event.target.closest("tr[data-path]"); if (row && !getSelection().toString()) { event.preventDefault(); this.openMenu(row, event.clientX, event.clientY); } });
    const find = this.querySelector("form.find");
    find.addEventListener("submit", (event) => { event.preventDefault(); this.find(); });
    find.addEventListener("input", () => { clearTimeout(this.findTimer); this.findTimer = setTimeout(() => this.find(), 350); });
    this.dragging();
    this.back = () => this.fromAddress();
    addEventListener("popstate", this.back);
    this.guard = (event) => { if (this.editor?.dirty || this.uploads.busy) event.preventDefault(); };
    addEventListener("beforeunload", this.guard);
    this.dress(); this.growTree(); this.usage();
    const file = new URLSearchParams(location.search).get("file");
    if (file) this.open(file, { push: false });
  }
  disconnectedCallback() { removeEventListener("popstate", this.back); removeEventListener("beforeunload", this.guard); this.editor?.close(); this.ready = false; }

  get view() { return this.list.firstElementChild?.dataset.view ?? ""; }
  get path() { return this.list.firstElementChild?.dataset.path ?? ""; }
  get isWhole() { return this.list.firstElementChild?.dataset.whole === "1"; }
  ticked() { return [...this.list.querySelectorAll("tbody input[type=checkbox]:checked")].map((box) => box.closest("tr")); }
  paths() { return this.ticked().map((row) => row.dataset.path).filter(Boolean); }

  // ------------------------------------------------------------------ the list
  async show(query, { push = true } = {}) {
    const url = new URL(this.page, location.href);
    for (const [key, value] of Object.entries(query)) if (value) url.searchParams.set(key, value);
    this.list.setAttribute("aria-busy", "true");
    const mine = (this.turn = (this.turn ?? 0) + 1);
    try {
      const answer = await fetch(url, { headers: { "X-Fragment": "1" }, credentials: "same-origin" });
      if (answer.redirected) { location.reload(); return; }
      const html = await answer.text();
      if (mine !== this.turn) return;
      if (!answer.ok) { fail(this.w.failed, answer, html); return; }
      this.query = query;
      const at = this.list.scrollTop, kept = new Set(this.paths());
      this.list.innerHTML = html;
      if (!push) this.list.scrollTop = at;
      for (const box of this.list.querySelectorAll("tbody input[type=checkbox]")) if (kept.has(box.value) && !push) box.checked = true;
      if (push) history.pushState(null, "", url);
      this.dress();
    } catch { toast({ title: document.body.dataset.offline, text: document.body.dataset.offlineHelp, id: "toast-offline" }); } finally { this.list.removeAttribute("aria-busy"); }
  }
  current() {
    const asked = new URLSearchParams(location.search);
    return this.query ?? { path: asked.get("path"), search: asked.get("search"), content: asked.get("content"), trash: asked.get("trash"), offset: asked.get("offset") };
  }
  reload() { clearTimeout(this.reloadTimer); return new Promise((done) => { this.reloadTimer = setTimeout(async () => { await this.show(this.current(), { push: false }); this.growTree(); this.usage(); done(); }, 60); }); }
  async go(path, options) { if (!(await this.leave())) return; await this.show({ path }, options); this.markTree(); }
  async fromAddress() {
    const asked = new URLSearchParams(location.search);
    if (!(await this.leave())) return;
    await this.show({ path: asked.get("path"), search: asked.get("search"), content: asked.get("content"), trash: asked.get("trash"), offset: asked.get("offset") }, { push: false });
    if (asked.get("file")) this.open(asked.get("file"), { push: false });
    this.markTree();
  }
  async find() {
    clearTimeout(this.findTimer);
    const text = this.querySelector("form.find input[name=search]").value.trim(), inside = this.button("content").getAttribute("aria-pressed") === "true";
    if (text.length === 1 && !inside) return;
    if (!(await this.leave())) return;
    await this.show(text ? { path: this.path, search: text, content: inside ? "1" : "" } : { path: this.path }, { push: this.view !== "found" });
    if (this.view === "found") history.replaceState(null, "", `${this.page}?${new URLSearchParams({ path: this.path, search: text, ...(inside ? { content: "1" } : {}) })}`);
  }
  button(name) { return this.querySelector(`[data-fm="${name}"]`); }
  dress() {
    tick(this.list);
    this.button("trash").setAttribute("aria-pressed", String(this.view === "trash"));
    this.button("trash").hidden = this.isWhole;
    this.querySelector("form.find input[name=path]").value = this.path;
    // Where nothing could be read nothing can be written either, and why not stands in the list's place.
    for (const opener of this.querySelectorAll(".fm-bar details.menu > summary")) {
      if (this.view === "problem") { opener.setAttribute("aria-disabled", "true"); opener.dataset.tip = this.list.querySelector(".empty p")?.textContent ?? ""; }
      else { opener.removeAttribute("aria-disabled"); delete opener.dataset.tip; }
    }
    this.bulk();
  }
  bulk() {
    const count = this.view === "folder" ? this.ticked().length : 0, bar = this.querySelector(".fm-bulk");
    bar.hidden = !count; this.querySelector(".fm-bar").hidden = !!count;
    if (count) this.button("count").textContent = fill(this.w.selected, count);
    const boxes = [...this.list.querySelectorAll("tbody input[type=checkbox]")], all = this.list.querySelector("[data-fm=all]");
    if (all) { const on = boxes.filter((box) => box.checked).length; all.checked = !!on && on === boxes.length; all.indeterminate = on > 0 && on < boxes.length; }
    for (const box of boxes) box.closest("tr").classList.toggle("on", box.checked);
  }
  async usage() {
    const place = this.button("usage");
    if (this.isWhole || this.view === "problem" || !this.view) { place.hidden = true; return; }
    const used = await call("GET", `${this.api}/usage`, { quiet: true });
    if (!used) return;
    place.textContent = used.quota_bytes ? fill(this.w.of, bytes(used.bytes), bytes(used.quota_bytes)) : bytes(used.bytes);
    place.hidden = false; place.classList.toggle("full", !!used.quota_bytes && used.bytes > used.quota_bytes * 0.95);
  }

  // ------------------------------------------------------------------ the tree
  async growTree() {
    const root = this.querySelector(".fm-tree > ul");
    if (this.view === "problem" || getComputedStyle(root.parentElement).display === "none") return;
    await this.grow(root, "");
    this.markTree();
  }
  async grow(list, path) {
    const found = await call("GET", `${this.api}?${new URLSearchParams({ path, limit: "1000" })}`, { quiet: true });
    if (!found) return;
    const open = new Map([...list.children].map((item) => [item.dataset.path, item]));
    const items = [];
    for (const entry of found.entries) {
      if ((entry.target_type || entry.type) !== "folder") break; // folders come first
      const at = join(path, entry.name), kept = open.get(at);
      items.push(kept ?? this.branch(at, entry.name));
      if (kept?.getAttribute("aria-expanded") === "true") this.grow(kept.querySelector("ul"), at);
    }
    list.replaceChildren(...items);
  }
  branch(path, name) {
    const item = document.createElement("li"), row = document.createElement("div"), twig = document.createElement("button"), link = document.createElement("a"), below = document.createElement("ul");
    item.dataset.path = path; item.setAttribute("role", "treeitem"); item.setAttribute("aria-expanded", "false"); item.setAttribute("aria-label", name);
    twig.type = "button"; twig.className = "twig"; twig.tabIndex = -1; twig.setAttribute("aria-hidden", "true"); twig.dataset.twig = "";
    link.href = `${this.page}?${new URLSearchParams({ path })}`; link.dataset.go = path; link.className = "clip"; link.textContent = name;
    below.setAttribute("role", "group");
    row.append(twig, link); item.append(row, below);
    return item;
  }
  async toggle(item, open = item.getAttribute("aria-expanded") !== "true") {
    item.setAttribute("aria-expanded", String(open));
    if (open) await this.grow(item.querySelector("ul"), item.dataset.path);
  }
  async markTree() {
    const here = this.path;
    for (let at = 0; here && at >= 0 && this.view === "folder"; ) {
      const next = here.indexOf("/", at + 1), part = next < 0 ? here : here.slice(0, next);
      const item = this.querySelector(`.fm-tree li[data-path="${CSS.escape(part)}"]`);
      if (item && next >= 0 && item.getAttribute("aria-expanded") !== "true") await this.toggle(item, true);
      at = next;
    }
    for (const link of this.querySelectorAll(".fm-tree a")) { if (link.dataset.go === here && this.view === "folder") link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current"); }
  }

  // ------------------------------------------------------------------ hands
  clicked(event) {
    const twig = event.target.closest("[data-twig]");
    if (twig) { this.toggle(twig.closest("li")); return; }
    const modified = event.ctrlKey || event.metaKey || event.shiftKey;
    const go = event.target.closest("[data-go]"), open = event.target.closest("[data-open]"), page = event.target.closest("[data-page]");
    if ((go || open || page) && modified && event.target.closest("a")) { if (event.shiftKey && (go || open)) { event.preventDefault(); this.range(event.target.closest("tr")); } return; }
    if (go) { event.preventDefault(); this.go(go.dataset.go); return; }
    if (open) { event.preventDefault(); this.open(open.dataset.open, { line: Number(open.dataset.line) || 0 }); return; }
    if (page) { event.preventDefault(); this.show({ path: this.path, offset: page.dataset.page }); return; }
    const hit = event.target.closest("[data-fm]");
    if (hit && hit.type !== "checkbox" && this.do[hit.dataset.fm]) { if (hit.closest("form") && hit.type === "submit") event.preventDefault(); if (hit.matches("a[data-fm=refresh]")) event.preventDefault(); if (hit.closest(".fm-menu")) this.menu.hidePopover?.(); this.do[hit.dataset.fm].call(this, hit, event); hit.closest("details.menu")?.removeAttribute("open"); }
  }
  range(row) {
    if (!row) return;
    const rows = [...this.list.querySelectorAll("tbody tr[data-path]")], from = Math.max(0, rows.indexOf(this.anchor)), to = rows.indexOf(row);
    for (const one of rows.slice(Math.min(from, to), Math.max(from, to) + 1)) one.querySelector("input[type=checkbox]").checked = true;
    this.bulk();
  }
  changed(event) {
    const box = event.target;
    if (box.dataset.fm === "all") { for (const one of this.list.querySelectorAll("tbody input[type=checkbox]")) one.checked = box.checked; this.bulk(); }
    else if (box.closest(".fm-list")) { this.anchor = box.closest("tr"); this.bulk(); }
    else if (box.dataset.fm === "files-input" || box.dataset.fm === "folder-input") { this.uploads.add([...box.files].map((file) => ({ file, path: join(this.path, file.webkitRelativePath || file.name) }))); box.value = ""; }
  }
  pressed(event) {
    const row = event.target.closest?.(".fm-list tr[data-path]");
    if ((event.ctrlKey || event.metaKey) && event.key === "s" && !this.editorBox.hidden) { event.preventDefault(); this.save(); return; }
    if (!row || event.target.matches("input:not([type=checkbox])")) return;
    const rows = [...this.list.querySelectorAll("tbody tr[data-path]")], step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); const next = rows[rows.indexOf(row) + step]; next?.querySelector(".fm-name a, input")?.focus(); }
    else if (event.key === " " && event.target.matches("a")) { event.preventDefault(); const box = row.querySelector("input"); box.checked = !box.checked; this.anchor = row; this.bulk(); }
    else if (event.key === "F2") { event.preventDefault(); this.row = row; this.do["row-rename"].call(this); }
    else if (event.key === "Delete") { event.preventDefault(); this.remove(this.paths().length ? this.paths() : [row.dataset.path]); }
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); for (const box of this.list.querySelectorAll("tbody input[type=checkbox]")) box.checked = true; this.bulk(); }
    else if (event.key === "Escape" && this.ticked().length) this.do["bulk-none"].call(this);
  }
  openMenu(row, x, y) {
    this.row = row;
    const kind = row.dataset.kind;
    this.button("row-open").hidden = kind === "other"; this.button("row-download").hidden = kind === "other";
    this.button("row-unpack").hidden = !("unpacks" in row.dataset); this.button("row-duplicate").hidden = kind === "other";
    this.menu.showPopover();
    const box = this.menu.getBoundingClientRect();
    this.menu.style.left = `${Math.max(8, Math.min(x, innerWidth - box.width - 8))}px`; this.menu.style.top = `${Math.max(8, Math.min(y, innerHeight - box.height - 8))}px`;
    this.menu.querySelector("button:not([hidden])").focus();
    if (!this.menuKeys) { this.menuKeys = true; this.menu.addEventListener("keydown", (event) => { const items = [...this.menu.querySelectorAll("button:not([hidden])")], at = items.indexOf(document.activeElement), step = { ArrowDown: 1, ArrowUp: -1 }[event.key]; if (step) { event.preventDefault(); items[(at + step + items.length) % items.length].focus(); } }); this.menu.addEventListener("toggle", (event) => { if (event.newState === "closed" && this.menu.contains(document.activeElement)) this.row?.querySelector("[data-fm=menu]")?.focus(); }); }
  }
  dragging() {
    const shade = this.querySelector(".fm-drop");
    let deep = 0;
    const fromOutside = (event) => event.dataTransfer?.types.includes("Files");
    this.addEventListener("dragenter", (event) => { if (fromOutside(event)) { event.preventDefault(); deep++; shade.hidden = false; } });
    this.addEventListener("dragleave", (event) => { if (fromOutside(event) && --deep <= 0) { deep = 0; shade.hidden = true; } });
    this.addEventListener("dragover", (event) => {
      if (fromOutside(event)) { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; return; }
      const onto = this.target(event); for (const old of this.querySelectorAll(".drop-here")) if (old !== onto) old.classList.remove("drop-here");
      if (this.dragged && onto) { event.preventDefault(); onto.classList.add("drop-here"); }
    });
    this.addEventListener("drop", async (event) => {
      deep = 0; shade.hidden = true;
      for (const old of this.querySelectorAll(".drop-here")) old.classList.remove("drop-here");
      if (fromOutside(event)) { event.preventDefault(); const folder = this.targetPath(event) ?? (this.view === "folder" ? this.path : ""); this.uploads.add((await dropped(event.dataTransfer)).map(({ file, path }) => ({ file, path: join(folder, path) }))); return; }
      const to = this.targetPath(event);
      if (this.dragged && to !== undefined) { event.preventDefault(); await this.move(this.dragged, to); }
      this.dragged = null;
    });
    this.addEventListener("dragstart", (event) => { const row = event.target.closest?.("tr[data-path]"); if (!row) return; const chosen = this.paths(); this.dragged = chosen.includes(row.dataset.path) ? chosen : [row.dataset.path]; event.dataTransfer.setData("text/plain", this.dragged.join("\n")); event.dataTransfer.effectAllowed = "move"; });
    this.addEventListener("dragend", () => { this.dragged = null; });
  }
  target(event) { return event.target.closest?.(".fm-list tr[data-kind=folder], .fm-up, .fm-tree li > div, .fm-crumbs a") ?? null; }
  targetPath(event) { const onto = this.target(event); if (!onto) return undefined; return onto.dataset.go ?? onto.dataset.path ?? onto.querySelector("[data-go]")?.dataset.go; }

  // ------------------------------------------------------------------ acts
  async act(method, path, body, said) {
    const done = await call(method, `${this.api}${path}`, { body, title: this.w.failed });
    if (done) { if (said) say(said); await this.reload(); }
    return done;
  }
  async move(paths, folder) {
    const pairs = paths.filter((path) => folderOf(path) !== folder && path !== folder).map((source) => ({ source, target: join(folder, base(source)) }));
    return pairs.length ? this.act("POST", "/move", { pairs }) : null;
  }
  async remove(paths) {
    if (!paths.length) return;
    if (this.isWhole && !(await this.ask.yes({ title: fill(this.texts.forever, paths.length), text: this.texts.foreverText, yes: this.texts.deleteYes, danger: true }))) return;
    const done = await this.act("DELETE", `?${new URLSearchParams(paths.map((path) => ["path", path]))}`);
    if (!done) return;
    const ids = done.deleted.map((one) => one.trash_id).filter(Boolean);
    if (!ids.length) { say(fill(this.w.gone, paths.length)); return; }
    toast({ tone: "green", title: fill(this.w.trashed, paths.length), text: paths.length === 1 ? paths[0] : "", id: "toast-trashed", act: { label: this.w.undo, run: () => this.act("POST", "/restore", { ids }) }, fade: 12000 });
  }
  download(paths) {
    const link = document.createElement("a");
    link.href = `${this.api}/download?${new URLSearchParams(paths.map((path) => ["path", path]))}`; link.download = "";
    document.body.append(link); link.click(); link.remove();
  }
  asksReplace(path) { return this.ask.three({ title: fill(this.texts.exists, base(path)), text: this.texts.existsText, yes: this.texts.replace, third: this.texts.skip }); }
  async create(kind) {
    const name = await this.ask.text({ title: kind === "file" ? this.texts.newFile : this.texts.newFolder, label: this.texts.name, yes: this.texts.make, none: this.w.noname });
    if (!name) return;
    const path = join(this.path, name.replace(/^\/+/, ""));
    if ((await this.act("POST", "/create", { path, type: kind === "file" ? "file" : "directory" })) && kind === "file") this.open(path);
  }
  async compress(paths) {
    const asked = await this.ask.text({ title: fill(this.texts.compress, paths.length), label: this.texts.archive, yes: this.texts.compressYes, empty: true, format: true });
    if (asked === null) return;
    const { value, format } = asked, name = value && !/\.(zip|tar\.gz|tgz)$/i.test(value) ? `${value}.${format}` : value;
    await this.act("POST", "/compress", { paths, format, target: name ? join(folderOf(paths[0]), name) : "" });
  }
  async chmod(rows) {
    const asked = await this.ask.mode({ title: this.texts.chmod, label: this.texts.octal, yes: this.texts.chmodYes, mode: rows[0].dataset.mode, folders: rows.some((row) => row.dataset.kind === "folder") });
    if (asked) await this.act("POST", "/chmod", { paths: rows.map((row) => row.dataset.path), ...asked });
  }
  async ship(paths, title, yes, route) {
    const folder = await this.ask.text({ title: fill(title, paths.length), label: this.texts.to, yes, value: this.path, empty: true, suggest: "/" });
    if (folder === null) return;
    await this.act("POST", route, { pairs: paths.map((source) => ({ source, target: route === "/copy" && folder.replace(/^\/|\/$/g, "") === folderOf(source) ? "" : join(folder.replace(/^\/|\/$/g, ""), base(source)) })) });
  }

  do = {
    refresh() { this.reload(); },
    tree(button) { const on = button.getAttribute("aria-pressed") !== "true"; button.setAttribute("aria-pressed", String(on)); this.classList.toggle("no-tree", !on); if (on) this.growTree(); },
    content(button) { button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true")); this.find(); },
    async trash() { if (await this.leave()) this.show(this.view === "trash" ? {} : { trash: "1" }); },
    "new-file"() { this.create("file"); }, "new-folder"() { this.create("folder"); },
    "pick-files"() { this.button("files-input").click(); }, "pick-folder"() { this.button("folder-input").click(); },
    menu(button, event) { const at = button.getBoundingClientRect(); event.stopPropagation(); this.openMenu(button.closest("tr"), at.right - 190, at.bottom + 4); },
    "bulk-none"() { for (const box of this.list.querySelectorAll("input[type=checkbox]")) box.checked = false; this.bulk(); },
    "bulk-download"() { this.download(this.paths()); }, "bulk-delete"() { this.remove(this.paths()); },
    "bulk-move"() { this.ship(this.paths(), this.texts.move, this.texts.moveYes, "/move"); }, "bulk-copy"() { this.ship(this.paths(), this.texts.copy, this.texts.copyYes, "/copy"); },
    "bulk-compress"() { this.compress(this.paths()); }, "bulk-chmod"() { this.chmod(this.ticked()); },
    "row-open"() { if (this.row.dataset.kind === "folder") this.go(this.row.dataset.path); else this.open(this.row.dataset.path); },
    "row-download"() { this.download([this.row.dataset.path]); },
    async "row-rename"() { const row = this.row, name = await this.ask.text({ title: this.texts.rename, label: this.texts.name, yes: this.texts.rename, value: row.dataset.name, none: this.w.noname, stem: true }); if (name && name !== row.dataset.name) this.act("POST", "/rename", { source: row.dataset.path, target: join(folderOf(row.dataset.path), name) }); },
    "row-duplicate"() { this.act("POST", "/copy", { source: this.row.dataset.path }); },
    "row-chmod"() { this.chmod([this.row]); }, "row-compress"() { this.compress([this.row.dataset.path]); },
    async "row-unpack"() { const done = await this.act("POST", "/decompress", { path: this.row.dataset.path }); if (done) toast({ tone: "green", title: fill(this.w.unpacked, done.files), fade: 6000 }); },
    async "row-path"() { const prefix = this.list.firstElementChild.dataset.prefix.replace(/\/$/, ""); try { await navigator.clipboard.writeText(`${prefix}/${this.row.dataset.path}`); say(document.body.dataset.copied); } catch { /* not allowed */ } },
    "row-delete"() { this.remove([this.row.dataset.path]); },
    async restore() { const ids = this.ticked().map((row) => row.dataset.id); if (!ids.length) return; const done = await this.act("POST", "/restore", { ids }); if (done) toast({ tone: "green", title: fill(this.w.restored, done.restored.map((one) => one.path).slice(0, 3).join(", ")), fade: 6000 }); },
    async "empty-trash"() { const ids = this.ticked().map((row) => row.dataset.id), count = ids.length || this.list.querySelectorAll("tbody tr").length; if (await this.ask.yes({ title: ids.length ? fill(this.texts.forever, count) : this.texts.empty, text: this.texts.foreverText, yes: this.texts.deleteYes, danger: true })) this.act("DELETE", `/trash?${new URLSearchParams(ids.map((id) => ["id", id]))}`); },
    "uploads-cancel"() { this.uploads.cancel(); }, "uploads-close"() { this.uploads.hide(); },
    async close() { if (await this.leave()) { const at = this.path; history.pushState(null, "", at ? `${this.page}?${new URLSearchParams({ path: at })}` : this.page); this.list.querySelector(`tr[data-path="${CSS.escape(this.last ?? "")}"] a`)?.focus(); this.reload(); } },
    save() { this.save(); },
    wrap(button) { const on = button.getAttribute("aria-pressed") !== "true"; button.setAttribute("aria-pressed", String(on)); this.editor?.wrap?.(on); },
    find() { this.editor?.find?.(); },
    theirs() { const { path } = this.editor; this.editor.clean(); this.open(path, { push: false }); },
    mine() { this.save({ force: true }); },
  };

  // ------------------------------------------------------------------ one file
  async leave() {
    if (this.editor?.dirty && !confirm(this.w.unsaved)) return false;
    this.editor?.close(); this.editor = null;
    this.editorBox.hidden = true; this.list.hidden = false;
    return true;
  }
  async open(path, { push = true, line = 0 } = {}) {
    if (!(await this.leave())) return;
    this.last = path;
    const { openFile } = await import("./editor.js");
    this.list.setAttribute("aria-busy", "true");
    const made = await openFile(this, path, { line });
    this.list.removeAttribute("aria-busy");
    if (!made) return;
    this.editor = made;
    if (push) history.pushState(null, "", `${this.page}?${new URLSearchParams({ ...(this.path ? { path: this.path } : {}), file: path })}`);
  }
  /** One at a time: what is asked while one is on its way is done after it, with the text as it is by then. */
  async save({ force = false } = {}) {
    const editor = this.editor;
    if (!editor?.text) return;
    if (this.saving) { this.saving.again = { editor, force: force || (this.saving.again?.editor === editor && this.saving.again.force) }; return; }
    const saving = this.saving = { again: null };
    this.button("save").disabled = true;
    const sent = editor.text();
    try {
      const answer = await fetch(`${this.api}/content?${new URLSearchParams({ path: editor.path })}`, { method: "PUT", credentials: "same-origin", headers: { "Content-Type": "application/octet-stream", "X-CSRFToken": csrf(), ...(force || !editor.etag ? {} : { "If-Match": editor.etag }) }, body: new Blob([sent]) });
      if (!answer.ok && answer.status !== 412) { saving.again = null; await fail(this.w.failed, answer); return; }
      if (editor !== this.editor) return;
      if (answer.status === 412) { this.querySelector(".fm-clash").hidden = false; if (!saving.again?.force) saving.again = null; return; }
      editor.etag = answer.headers.get("ETag"); editor.saved(sent); this.querySelector(".fm-clash").hidden = true;
      say(this.w.saved); this.button("estate").textContent = this.w.saved;
    } catch { saving.again = null; toast({ title: document.body.dataset.offline, text: document.body.dataset.offlineHelp, id: "toast-offline" }); } finally {
      this.saving = null;
      if (editor === this.editor && editor.dirty) this.button("save").disabled = false;
      const { again } = saving;
      if (again && again.editor === this.editor && (again.force || again.editor.dirty)) this.save(again);
    }
  }
}
customElements.define("lm-files", Files);
