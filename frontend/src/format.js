const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const SP = "\u202f";

export function bytes(n) {
  if (!Number.isFinite(n)) return "–";
  let step = 0;
  while (Math.abs(n) >= 1023.5 && step < UNITS.length - 1) { n /= 1024; step++; }
  return (step === 0 || n >= 99.5 ? Math.round(n) : n >= 9.95 ? n.toFixed(1) : n.toFixed(2)) + SP + UNITS[step];
}
export const rate = (n) => (Number.isFinite(n) ? `${bytes(n)}/s` : "–");
export const percent = (n) => (Number.isFinite(n) ? (n >= 9.95 || n === 0 ? Math.round(n) : n.toFixed(1)) + SP + "%" : "–");

const AGO = new Intl.RelativeTimeFormat(document.documentElement.lang || "en", { numeric: "always", style: "narrow" });
export function ago(at) {
  const seconds = (Date.now() - at) / 1000, s = Math.abs(seconds), sign = seconds < 0 ? 1 : -1;
  if (s < 5) return document.body?.dataset.now || "now";
  if (s < 60) return AGO.format(sign * Math.floor(s), "second");
  if (s < 3600) return AGO.format(sign * Math.floor(s / 60), "minute");
  if (s < 86400) return AGO.format(sign * Math.floor(s / 3600), "hour");
  if (s >= 366 * 86400) return at.toISOString().slice(0, 10);
  return AGO.format(sign * Math.floor(s / 86400), "day");
}
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds)), d = Math.floor(s / 86400), h = Math.floor((s % 86400) / 3600), m = Math.floor((s % 3600) / 60);
  return d ? `${d}d ${h}h` : h ? `${h}h ${m}m` : m ? `${m}m ${s % 60}s` : `${s}s`;
}
const ABSOLUTE = new Intl.DateTimeFormat(document.documentElement.lang || "en", { dateStyle: "medium", timeStyle: "medium" });
export const absolute = (date) => ABSOLUTE.format(date);
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
export const clock = (date) => CLOCK.format(date);
export const when = (value) => (typeof value === "number" ? new Date(value * 1000) : new Date(value));
