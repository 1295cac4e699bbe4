// One log line -> nodes. Text goes in by textContent only; colours (SGR) become classes; every other escape and control is dropped (F08, F09).
const OTHER = /\x1b\][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b[PX^_][^\x1b]*(?:\x1b\\|$)|\x1b\[[0-?]*[ -/]*[@-ln-~]|\x1b[ -/]*[0-OQ-WYZ\\`-~]|\x9b[0-?]*[ -/]*[@-~]/g;
const CONTROL = /[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;
const SGR = /\x1b\[([0-9;:]*)m/g;
const LINK = /\bhttps?:\/\/[^\s"'<>`\x1b]+[^\s"'<>`\x1b.,;:!?)\]}]/g;

const lastPart = (text) => { const parts = text.replace(/\r+$/, "").split("\r"); return parts[parts.length - 1]; };
export const clean = (text) => lastPart(text).replace(OTHER, "").replace(CONTROL, (c) => (c === "\x1b" ? c : ""));
export const strip = (text) => clean(text).replace(SGR, "").replaceAll("\x1b", "");

const cube = (n) => (n < 16 ? n : n >= 232 ? (n < 244 ? 8 : 7) : near((n - 16) / 36 | 0, ((n - 16) / 6 | 0) % 6, (n - 16) % 6, 5));
// colours beyond the sixteen are taken to the nearest of them, so that both themes stay readable
function near(r, g, b, top) {
  const high = Math.max(r, g, b), low = Math.min(r, g, b);
  if (high - low < top * 0.18) return high > top * 0.75 ? 15 : high > top * 0.3 ? 7 : 8;
  const bit = (v) => (v > (high + low) / 2 ? 1 : 0);
  return (bit(r) | (bit(g) << 1) | (bit(b) << 2)) + (high > top * 0.8 ? 8 : 0);
}
function apply(state, codes) {
  const list = codes === "" ? [0] : codes.split(/[;:]/).map(Number);
  for (let i = 0; i < list.length; i++) {
    const c = list[i];
    if (c === 0) for (const key of Object.keys(state)) delete state[key];
    else if (c === 1) state.b = 1; else if (c === 2) state.d = 1; else if (c === 3) state.it = 1; else if (c === 4) state.u = 1; else if (c === 7) state.iv = 1; else if (c === 9) state.st = 1;
    else if (c === 22) { delete state.b; delete state.d; } else if (c === 23) delete state.it; else if (c === 24) delete state.u; else if (c === 27) delete state.iv; else if (c === 29) delete state.st;
    else if (c >= 30 && c <= 37) state.fg = c - 30; else if (c >= 90 && c <= 97) state.fg = c - 82; else if (c === 39) delete state.fg;
    else if (c >= 40 && c <= 47) state.bg = c - 40; else if (c >= 100 && c <= 107) state.bg = c - 100; else if (c === 49) delete state.bg;
    else if (c === 38 || c === 48) {
      const key = c === 38 ? "fg" : "bg";
      if (list[i + 1] === 5) { state[key] = cube(list[i + 2] & 255); i += 2; } else if (list[i + 1] === 2) { state[key] = near(list[i + 2], list[i + 3], list[i + 4], 255); i += 4; }
      if (key === "bg" && state.bg > 7) state.bg -= 8;
    }
  }
}
function classes(state) {
  const out = [];
  for (const key of ["b", "d", "it", "u", "iv", "st"]) if (state[key]) out.push(key);
  if (state.fg !== undefined) out.push(`c${state.fg}`);
  if (state.bg !== undefined) out.push("g", `g${state.bg}`);
  return out.join(" ");
}
function put(parent, text) {
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    if (match.index > from) parent.append(text.slice(from, match.index));
    const link = document.createElement("a");
    link.textContent = match[0]; link.rel = "noopener noreferrer nofollow"; link.target = "_blank";
    try { const url = new URL(match[0]); if (url.protocol === "http:" || url.protocol === "https:") link.href = url.href; } catch { /* stays text */ }
    parent.append(link); from = match.index + match[0].length;
  }
  if (from < text.length) parent.append(from ? text.slice(from) : text);
}
export function render(parent, raw) {
  const text = clean(raw);
  if (!text.includes("\x1b")) { put(parent, text); return; }
  const state = {}; let from = 0;
  const flush = (piece) => {
    piece = piece.replaceAll("\x1b", ""); if (!piece) return;
    const names = classes(state);
    if (!names) { put(parent, piece); return; }
    const span = document.createElement("span"); span.className = names; put(span, piece); parent.append(span);
  };
  for (const match of text.matchAll(SGR)) { flush(text.slice(from, match.index)); apply(state, match[1]); from = match.index + match[0].length; }
  flush(text.slice(from));
}
