// xterm, dressed: our colours, no clipboard and no titles for what runs inside, answers to its questions only from the one who looks alone.
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";

// xterm writes <style> elements; the policy wants a nonce on them
const nonce = document.querySelector("script[nonce]")?.nonce, create = document.createElement.bind(document);
document.createElement = (name, options) => { const made = create(name, options); if (nonce && String(name).toLowerCase() === "style") made.nonce = nonce; return made; };

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
function theme() {
  const css = getComputedStyle(document.documentElement), of = (name) => css.getPropertyValue(name).trim();
  const made = { background: of("--term"), foreground: of("--term-ink"), cursor: of("--ink"), cursorAccent: of("--term"), selectionBackground: `${of("--blue")}55` };
  NAMES.forEach((name, i) => { made[name] = of(`--ansi-${i}`); made[`bright${name[0].toUpperCase()}${name.slice(1)}`] = of(`--ansi-${i + 8}`); });
  return made;
}

export function makeTerminal(place, { answers = () => false, label = "", ...options } = {}) {
  const term = new Terminal({ fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono").trim(), fontSize: 13, lineHeight: 1.2, cursorBlink: true, scrollback: 10000, theme: theme(), minimumContrastRatio: 4.5, screenReaderMode: false,
    linkHandler: { activate: (_, text) => { if (/^https?:\/\//i.test(text)) open(text, "_blank", "noopener,noreferrer"); } }, ...options });
  const fit = new FitAddon();
  term.loadAddon(fit);
  // what runs inside may ask where the cursor is or who we are; the answer would be typed. Not while old output is shown again, nor by many.
  const quiet = () => !answers();
  for (const id of [{ final: "n" }, { prefix: "?", final: "n" }, { final: "c" }, { prefix: ">", final: "c" }, { prefix: "=", final: "c" }, { intermediates: "$", final: "p" }, { prefix: "?", intermediates: "$", final: "p" }, { final: "t" }]) term.parser.registerCsiHandler(id, quiet);
  term.parser.registerDcsHandler({ intermediates: "$", final: "q" }, quiet);
  for (const number of [4, 10, 11, 12]) term.parser.registerOscHandler(number, (data) => (/\?/.test(data) ? quiet() : false));
  for (const number of [0, 1, 2, 7, 9, 52, 777, 1337]) term.parser.registerOscHandler(number, () => true);
  term.open(place);
  if (label) term.textarea?.setAttribute("aria-label", label);
  const recolour = new MutationObserver(() => { term.options.theme = theme(); });
  recolour.observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
  return { term, fit: () => { if (place.clientWidth > 40 && place.clientHeight > 40) fit.fit(); }, end() { recolour.disconnect(); term.dispose(); } };
}
