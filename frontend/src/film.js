// Plays an asciicast v2 recording. Long waits are shortened.
import { makeTerminal } from "./term.js";

const LONGEST_WAIT = 2;
const stamp = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export class Film {
  constructor(host, text) {
    this.host = host; this.speed = Number(host.querySelector("[data-tm=speed]").value); this.at = 0; this.next = 0; this.events = [];
    const lines = text.split("\n"), head = JSON.parse(lines[0]);
    let shift = 0, last = 0;
    for (const line of lines.slice(1)) {
      if (!line) continue;
      let event; try { event = JSON.parse(line); } catch { break; } // the last line of a running one may be half
      const [time, kind, data] = event;
      if (time - last > LONGEST_WAIT) shift += time - last - LONGEST_WAIT;
      last = time;
      this.events.push([time - shift, kind, data]);
    }
    this.length = Math.max(0, last - shift);
    this.screen = host.querySelector(".tm-screen"); this.screen.replaceChildren();
    this.made = makeTerminal(this.screen, { cols: head.width || 80, rows: head.height || 24, disableStdin: true, cursorBlink: false });
    this.size = [head.width || 80, head.height || 24];
    const seek = host.querySelector("[data-tm=seek]"); seek.max = String(this.length); seek.value = "0";
    this.tell();
  }
  tell() {
    this.host.querySelector("[data-tm=seek]").value = String(this.at);
    this.host.querySelector("[data-tm=clock]").textContent = `${stamp(this.at)} / ${stamp(this.length)}`;
    this.host.querySelector("[data-tm=play]").textContent = this.frame ? this.host.w.pause : this.host.w.play;
  }
  until(time) {
    let out = "";
    for (; this.next < this.events.length && this.events[this.next][0] <= time; this.next++) {
      const [, kind, data] = this.events[this.next];
      if (kind === "o") out += data;
      else if (kind === "r") { if (out) { this.made.term.write(out); out = ""; } const [cols, rows] = String(data).split("x").map(Number); if (cols > 1 && rows > 1) this.made.term.resize(cols, rows); }
    }
    if (out) this.made.term.write(out);
    this.at = Math.min(time, this.length);
  }
  toggle() {
    if (this.frame) { cancelAnimationFrame(this.frame); this.frame = 0; this.tell(); return; }
    if (this.at >= this.length) this.seek(0);
    let before = performance.now();
    const step = (now) => {
      this.until(this.at + ((now - before) / 1000) * this.speed); before = now;
      this.frame = this.at < this.length ? requestAnimationFrame(step) : 0;
      this.tell();
    };
    this.frame = requestAnimationFrame(step);
    this.tell();
  }
  seek(time) {
    if (time < this.at) { this.made.term.reset(); this.made.term.resize(...this.size); this.next = 0; }
    this.until(time); this.tell();
  }
  end() { cancelAnimationFrame(this.frame); this.made.end(); }
}
