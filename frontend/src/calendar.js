// Drag over free time of a machine to reserve it. Reading and reserving work without this.
const pad = (n) => String(n).padStart(2, "0");
let drag = null;

function at(cal, track, x) {
  const box = track.getBoundingClientRect(), seconds = Number(cal.dataset.seconds), snap = Number(cal.dataset.snap);
  const share = Math.min(1, Math.max(0, (x - box.left) / box.width));
  return Math.round(share * seconds / snap) * snap;
}
function free(track, cal, from, to) {
  const total = Number(cal.dataset.seconds);
  return [...track.querySelectorAll(".cal-bar:not(.past)")].every((bar) => {
    const left = parseFloat(bar.style.left) * total / 100, right = left + parseFloat(bar.style.width) * total / 100;
    return right <= from + 1 || left >= to - 1;
  });
}
function draw() {
  const { cal, track, pick, from, to } = drag, total = Number(cal.dataset.seconds), [a, b] = [Math.min(from, to), Math.max(from, to)];
  pick.style.left = `${100 * a / total}%`; pick.style.width = `${100 * (b - a) / total}%`;
  const minutes = Math.round((b - a) / 60), good = b > a && free(track, cal, a, b);
  pick.textContent = good ? (minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${pad(minutes % 60)}` : ""}`) : "";
  pick.style.background = good ? "" : "var(--dot-red)";
  drag.good = good;
}
function end() { drag?.pick.remove(); drag = null; }

document.addEventListener("pointerdown", (event) => {
  const track = event.target.closest?.(".cal-track:not(.shut)"), cal = track?.closest("[data-new]");
  if (!cal || event.button !== 0 || event.pointerType === "touch" || event.target.closest(".cal-bar")) return;
  const now = (Date.now() - Date.parse(cal.dataset.start)) / 1000, snap = Number(cal.dataset.snap);
  const from = Math.max(at(cal, track, event.clientX), Math.floor(now / snap) * snap, 0);
  const pick = Object.assign(document.createElement("div"), { className: "cal-pick" });
  track.append(pick);
  drag = { cal, track, pick, from, to: from, good: false };
  track.setPointerCapture(event.pointerId); event.preventDefault();
});
document.addEventListener("pointermove", (event) => { if (drag) { drag.to = at(drag.cal, drag.track, event.clientX); draw(); } });
document.addEventListener("pointerup", () => {
  if (!drag) return;
  const { cal, track, from, to, good } = drag, a = Math.min(from, to), b = Math.max(from, to);
  end();
  if (!good || b - a < 60) return;
  const start = Date.parse(cal.dataset.start) + a * 1000, query = new URLSearchParams({ machine: track.dataset.machine, minutes: Math.round((b - a) / 60) });
  if (start > Date.now()) query.set("start", new Date(start).toISOString());
  location.assign(`${cal.dataset.new}?${query}`);
});
document.addEventListener("pointercancel", end);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") end(); });
