// One file, opened: text in an editor, pictures as pictures, anything else as bytes. Comes only when a file is opened.
import { fail } from "./api.js";
import { bytes } from "./format.js";

const IMAGES = /\.(png|jpe?g|gif|webp|avif|bmp|ico|svg)$/i;
const LOOK = 8192, PAGE = 4096;
const fill = (text, ...values) => values.reduce((kept, value) => kept.replace(/%[ds]/, String(value)), text);

export async function openFile(host, path, { line = 0 } = {}) {
  const url = `${host.api}/content?${new URLSearchParams({ path })}`;
  const head = await fetch(url, { credentials: "same-origin", headers: { Range: `bytes=0-${LOOK - 1}` } }).catch(() => null);
  if (!head) { await fail(host.w.failed, new Response("", { status: 503, statusText: document.body.dataset.offline })); return null; }
  let start = new Uint8Array(0), size = 0;
  if (head.status !== 416) {
    if (!head.ok) { await fail(host.w.failed, head); return null; }
    size = Number(head.headers.get("Content-Range")?.split("/")[1] ?? head.headers.get("Content-Length") ?? 0);
    start = new Uint8Array(await head.arrayBuffer());
  }
  const box = host.querySelector(".fm-body"), button = (name) => host.querySelector(`[data-fm="${name}"]`);
  box.replaceChildren(); host.querySelector(".fm-clash").hidden = true;
  button("epath").textContent = path; button("estate").textContent = ""; button("where").textContent = ""; button("lang").textContent = bytes(size);
  button("edownload").href = `${host.api}/download?${new URLSearchParams({ path })}`;
  for (const name of ["save", "wrap", "find"]) button(name).hidden = true;
  button("save").disabled = true;
  host.list.hidden = true; host.editorBox.hidden = false;

  const base = { path, etag: null, dirty: false, clean() { this.dirty = false; }, close() { box.replaceChildren(); } };
  if (IMAGES.test(path) && !(/\.svg$/i.test(path) && host.wantsSource)) {
    const picture = Object.assign(document.createElement("img"), { src: url, alt: path });
    const frame = document.createElement("div"); frame.className = "fm-picture"; frame.append(picture); box.append(frame);
    picture.addEventListener("load", () => { button("where").textContent = `${picture.naturalWidth} × ${picture.naturalHeight}`; });
    picture.addEventListener("error", () => { box.replaceChildren(); hex(host, box, url, size, start); });
    return base;
  }
  if (size > Number(host.dataset.editorBytes) || isBinary(start)) {
    button("estate").textContent = size > Number(host.dataset.editorBytes) ? fill(host.w.large, bytes(size)) : host.w.binary;
    hex(host, box, url, size, start);
    return base;
  }
  const whole = await fetch(url, { credentials: "same-origin" }).catch(() => null);
  if (!whole?.ok) { if (whole) await fail(host.w.failed, whole); host.leave(); return null; }
  let text;
  try { text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await whole.arrayBuffer()); } catch {
    button("estate").textContent = host.w.binary; hex(host, box, url, size, start); return base;
  }
  const { edit } = await import("./codemirror.js");
  for (const name of ["save", "wrap", "find"]) button(name).hidden = false;
  const crlf = text.includes("\r\n");
  const made = await edit(box, { path, text, crlf, line, wrap: button("wrap").getAttribute("aria-pressed") === "true",
    onChange(dirty) { if (made && made.dirty !== dirty) { made.dirty = dirty; button("save").disabled = !dirty; button("estate").textContent = dirty ? host.w.edited : ""; } },
    onMove(row, column) { button("where").textContent = fill(host.w.line, row, column); },
    onSave() { host.save(); } });
  button("lang").textContent = [made.language, bytes(size), crlf ? host.w.crlf : ""].filter(Boolean).join(" · ");
  return Object.assign(made, { path, etag: whole.headers.get("ETag") });
}

function isBinary(start) {
  if (start.includes(0)) return true;
  try { new TextDecoder("utf-8", { fatal: true }).decode(start.length < LOOK ? start : start.subarray(0, start.length - 4), { stream: true }); return false; } catch { return true; }
}

function hex(host, box, url, size, start) {
  const view = document.createElement("div"), foot = document.createElement("div"), table = document.createElement("pre");
  view.className = "fm-hex"; table.className = "mono"; table.tabIndex = 0; foot.className = "fm-pages row-x";
  const make = (text, at) => Object.assign(document.createElement("button"), { type: "button", className: "btn s", textContent: text, onclick: () => show(at()) });
  let offset = 0;
  const row = (data, at) => {
    const cells = [], signs = [];
    for (let i = 0; i < 16; i++) { const byte = data[i]; cells.push(byte === undefined ? "  " : byte.toString(16).padStart(2, "0")); signs.push(byte === undefined ? " " : byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·"); }
    return `${at.toString(16).padStart(8, "0")}  ${cells.slice(0, 8).join(" ")}  ${cells.slice(8).join(" ")}  ${signs.join("")}`;
  };
  async function show(at) {
    offset = Math.max(0, Math.min(at, Math.max(0, Math.floor((size - 1) / PAGE) * PAGE)));
    let data = start.subarray(offset, offset + PAGE);
    if (offset + PAGE > start.length && size > start.length) {
      const answer = await fetch(url, { credentials: "same-origin", headers: { Range: `bytes=${offset}-${offset + PAGE - 1}` } }).catch(() => null);
      if (!answer?.ok) { if (answer) fail(host.w.failed, answer); return; }
      data = new Uint8Array(await answer.arrayBuffer());
    }
    const rows = [];
    for (let i = 0; i < data.length; i += 16) rows.push(row(data.subarray(i, i + 16), offset + i));
    table.textContent = rows.join("\n");
    host.querySelector("[data-fm=where]").textContent = fill(host.w.of, `${bytes(offset)}`, bytes(size));
    first.disabled = before.disabled = offset === 0; next.disabled = last.disabled = offset + PAGE >= size;
  }
  const first = make("⏮", () => 0), before = make("◀", () => offset - PAGE), next = make("▶", () => offset + PAGE), last = make("⏭", () => size);
  for (const [el, word] of [[first, "0"], [before, `−${PAGE}`], [next, `+${PAGE}`], [last, bytes(size)]]) el.setAttribute("aria-label", word);
  foot.append(first, before, next, last); view.append(table, foot); box.append(view);
  show(0);
}
