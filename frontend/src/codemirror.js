// The editor itself, with our colours. Languages come one by one.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { HighlightStyle, StreamLanguage, bracketMatching, foldGutter, foldKeymap, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, openSearchPanel, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, drawSelection, dropCursor, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars, keymap, lineNumbers, rectangularSelection } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const legacy = (name, load) => [name, async () => StreamLanguage.define(await load())];
const LANGUAGES = [
  [/\.(json|json5|mcmeta|webmanifest)$/i, ["JSON", async () => (await import("@codemirror/lang-json")).json()]],
  [/\.(ya?ml)$/i, ["YAML", async () => (await import("@codemirror/lang-yaml")).yaml()]],
  [/\.(m?jsx?|cjs)$/i, ["JavaScript", async () => (await import("@codemirror/lang-javascript")).javascript({ jsx: true })]],
  [/\.(tsx?|mts)$/i, ["TypeScript", async () => (await import("@codemirror/lang-javascript")).javascript({ typescript: true, jsx: true })]],
  [/\.(py|pyi)$/i, ["Python", async () => (await import("@codemirror/lang-python")).python()]],
  [/\.(html?|vue)$/i, ["HTML", async () => (await import("@codemirror/lang-html")).html()]],
  [/\.(s?css|less)$/i, ["CSS", async () => (await import("@codemirror/lang-css")).css()]],
  [/\.(xml|svg|plist)$/i, ["XML", async () => (await import("@codemirror/lang-xml")).xml()]],
  [/\.(md|markdown)$/i, ["Markdown", async () => (await import("@codemirror/lang-markdown")).markdown()]],
  [/\.sql$/i, ["SQL", async () => (await import("@codemirror/lang-sql")).sql()]],
  [/\.(java|kts?|groovy|gradle)$/i, ["Java", async () => (await import("@codemirror/lang-java")).java()]],
  [/\.php$/i, ["PHP", async () => (await import("@codemirror/lang-php")).php()]],
  [/\.(sh|bash|zsh)$|(^|\/)\.(bashrc|profile|zshrc)$/i, legacy("Shell", async () => (await import("@codemirror/legacy-modes/mode/shell")).shell)],
  [/\.(properties|ini|cfg|conf|env|desktop|service)$|(^|\/)\.env/i, legacy("Properties", async () => (await import("@codemirror/legacy-modes/mode/properties")).properties)],
  [/\.toml$/i, legacy("TOML", async () => (await import("@codemirror/legacy-modes/mode/toml")).toml)],
  [/\.lua$/i, legacy("Lua", async () => (await import("@codemirror/legacy-modes/mode/lua")).lua)],
  [/\.rb$/i, legacy("Ruby", async () => (await import("@codemirror/legacy-modes/mode/ruby")).ruby)],
  [/\.go$/i, legacy("Go", async () => (await import("@codemirror/legacy-modes/mode/go")).go)],
  [/\.rs$/i, legacy("Rust", async () => (await import("@codemirror/legacy-modes/mode/rust")).rust)],
  [/\.(c|h|cc|cpp|hpp|cs)$/i, legacy("C", async () => (await import("@codemirror/legacy-modes/mode/clike")).cpp)],
  [/(^|\/)(Dockerfile|Containerfile)|\.dockerfile$/i, legacy("Dockerfile", async () => (await import("@codemirror/legacy-modes/mode/dockerfile")).dockerFile)],
  [/nginx.*\.conf$/i, legacy("nginx", async () => (await import("@codemirror/legacy-modes/mode/nginx")).nginx)],
  [/\.(diff|patch)$/i, legacy("Diff", async () => (await import("@codemirror/legacy-modes/mode/diff")).diff)],
].reverse();

const colours = syntaxHighlighting(HighlightStyle.define([
  { tag: [tags.comment, tags.meta], color: "var(--ink-3)", fontStyle: "italic" },
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "var(--ansi-5)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: "var(--ansi-2)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--ansi-3)" },
  { tag: [tags.propertyName, tags.attributeName, tags.definition(tags.propertyName)], color: "var(--ansi-4)" },
  { tag: [tags.typeName, tags.className, tags.tagName, tags.namespace], color: "var(--ansi-6)" },
  { tag: [tags.definition(tags.variableName), tags.function(tags.variableName)], color: "var(--ansi-12)" },
  { tag: tags.heading, fontWeight: "650" }, { tag: tags.strong, fontWeight: "650" }, { tag: tags.emphasis, fontStyle: "italic" },
  { tag: tags.link, textDecoration: "underline" }, { tag: tags.invalid, color: "var(--red)" },
]));

export async function edit(parent, { path, text, crlf, line, wrap, onChange, onMove, onSave }) {
  const [language, load] = LANGUAGES.find(([fits]) => fits.test(path))?.[1] ?? ["", null];
  const wrapping = new Compartment(), spoken = new Compartment();
  const tabs = /^\t/m.test(text) && !/^ {2}/m.test(text);
  let stored;
  const state = EditorState.create({ doc: text, extensions: [
    EditorView.cspNonce.of(document.querySelector("script[nonce]")?.nonce ?? ""),
    ...(crlf ? [EditorState.lineSeparator.of("\r\n")] : []),
    lineNumbers(), highlightActiveLineGutter(), highlightSpecialChars(), history(), foldGutter(), drawSelection(), dropCursor(), rectangularSelection(),
    EditorState.allowMultipleSelections.of(true), indentOnInput(), bracketMatching(), highlightActiveLine(), highlightSelectionMatches(), search({ top: true }), colours,
    indentUnit.of(tabs ? "\t" : "  "), EditorState.tabSize.of(4), spoken.of([]), wrapping.of(wrap ? EditorView.lineWrapping : []),
    EditorView.contentAttributes.of({ "aria-label": path, spellcheck: "false" }),
    keymap.of([{ key: "Mod-s", preventDefault: true, run: () => { onSave(); return true; } }, indentWithTab, ...searchKeymap, ...historyKeymap, ...foldKeymap, ...defaultKeymap]),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) onChange(!update.state.doc.eq(stored));
      if (update.docChanged || update.selectionSet) where(update.state);
    }),
  ] });
  stored = state.doc;
  const where = (now) => { const at = now.selection.main.head, row = now.doc.lineAt(at); onMove(row.number, at - row.from + 1); };
  const view = new EditorView({ state, parent });
  where(view.state);
  if (load) load().then((support) => view.dispatch({ effects: spoken.reconfigure(support) })).catch(() => {});
  if (line > 1) { const at = view.state.doc.line(Math.min(line, view.state.doc.lines)).from; view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) }); }
  view.focus();
  return {
    language, dirty: false,
    text: () => view.state.sliceDoc(),
    saved(sent) { stored = view.state.sliceDoc() === sent ? view.state.doc : stored; onChange(!view.state.doc.eq(stored)); },
    clean() { this.dirty = false; },
    wrap(on) { view.dispatch({ effects: wrapping.reconfigure(on ? EditorView.lineWrapping : []) }); },
    find() { openSearchPanel(view); },
    close() { view.destroy(); },
  };
}
