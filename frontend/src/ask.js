// One dialog for a name, a yes, or permissions. Each question is a promise: null when it was closed.
const $ = (box, name) => box.querySelector(`[data-fm="${name}"]`);

export class Ask {
  constructor(dialog) {
    this.dialog = dialog; this.form = dialog.querySelector("form"); this.input = dialog.querySelector("#fm-ask-value");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const error = $(dialog, "ask-error");
      if (this.check) { const wrong = this.check(); if (wrong) { error.textContent = wrong; error.hidden = false; this.input.setAttribute("aria-invalid", "true"); this.input.focus(); return; } }
      this.done(this.answer());
    });
    dialog.addEventListener("close", () => this.done(null));
    $(dialog, "ask-third").addEventListener("click", () => this.done("third"));
    dialog.addEventListener("change", (event) => { if (event.target.dataset.bit) this.input.value = this.bits().map((bit) => bit.reduce((a, b) => a + b, 0)).join(""); });
    this.input.addEventListener("input", () => { if (!$(dialog, "ask-mode").hidden) this.tick(this.input.value); });
  }
  bits() { return [0, 1, 2].map((who) => [4, 2, 1].map((bit) => (this.dialog.querySelector(`[data-bit="${who}${bit}"]`).checked ? bit : 0))); }
  tick(octal) { if (/^0?[0-7]{3}$/.test(octal)) [...octal.slice(-3)].forEach((digit, who) => { for (const bit of [4, 2, 1]) this.dialog.querySelector(`[data-bit="${who}${bit}"]`).checked = !!(Number(digit) & bit); }); }
  done(value) { const resolve = this.resolve; this.resolve = null; if (this.dialog.open) this.dialog.close(); resolve?.(value); }
  open({ title, text = "", label = "", value = null, yes, third = "", danger = false, format = false, mode = false, folders = false }) {
    this.resolve?.(null);
    const { dialog } = this;
    dialog.querySelector("h2").textContent = title;
    $(dialog, "ask-text").textContent = text; $(dialog, "ask-text").hidden = !text;
    $(dialog, "ask-field").hidden = value === null; $(dialog, "ask-field").querySelector("label").textContent = label;
    $(dialog, "ask-mode").hidden = !mode; $(dialog, "ask-format").hidden = !format; $(dialog, "ask-error").hidden = true;
    $(dialog, "ask-recursive").closest("label").hidden = !folders; $(dialog, "ask-recursive").checked = false;
    const button = $(dialog, "ask-yes"); button.textContent = yes; button.className = danger ? "btn danger solid" : "btn primary";
    const other = $(dialog, "ask-third"); other.hidden = !third; other.textContent = third;
    this.input.value = value ?? ""; this.input.removeAttribute("aria-invalid"); this.check = null;
    dialog.showModal();
    if (value !== null) { this.input.focus(); this.input.select(); } else button.focus();
    return new Promise((resolve) => { this.resolve = resolve; });
  }
  yes(options) { this.answer = () => true; return this.open(options); }
  three(options) { this.answer = () => "yes"; return this.open(options); }
  text({ value = "", none = "", empty = false, stem = false, format = false, ...options }) {
    this.answer = () => { const typed = this.input.value.trim(); return format ? { value: typed, format: this.form.elements.format.value } : typed; };
    const opened = this.open({ ...options, value, format });
    if (!empty) this.check = () => (this.input.value.trim() ? "" : none);
    if (stem && value.lastIndexOf(".") > 0) this.input.setSelectionRange(0, value.lastIndexOf("."));
    return opened;
  }
  mode({ mode, ...options }) {
    this.answer = () => ({ mode: this.input.value.trim(), recursive: $(this.dialog, "ask-recursive").checked });
    const opened = this.open({ ...options, value: mode, mode: true });
    this.tick(mode);
    this.check = () => (/^0?[0-7]{3}$/.test(this.input.value.trim()) ? "" : "000 – 777");
    return opened;
  }
}
