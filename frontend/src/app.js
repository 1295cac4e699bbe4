import "./css/app.css";
import "./htmx.js";
import "./ui.js";
import "./live.js";
import "./palette.js";

// The heavy parts come only with the pages that show them.
const lazily = {
  "lm-log": () => import("./log.js"),
  "lm-files": () => import("./files.js"),
  "lm-terminals": () => import("./terminals.js"),
  "lm-charts": () => import("./charts.js"),
  "form[data-new-container]": () => import("./newform.js"),
  "[data-passkey]": () => import("./passkeys.js"),
  "[data-calendar]": () => import("./calendar.js"),
};
function load() { for (const [selector, get] of Object.entries(lazily)) if (get && document.querySelector(selector)) { lazily[selector] = null; get(); } }
load();
// Narrow: the tab one is on is the one that shows.
const tab = document.querySelector(".tabs [aria-current]"), strip = tab?.parentElement;
if (tab) strip.scrollLeft += tab.getBoundingClientRect().left - strip.getBoundingClientRect().left - (strip.clientWidth - tab.offsetWidth) / 2;
// A form that came back: what is wrong is where one is, also where it stands far below on a phone.
const field = document.querySelector("form [aria-invalid=true]"), wrong = field ?? document.querySelector("form .err, form .banner.red[role=alert]");
field?.focus({ preventScroll: true });
if (wrong) { const at = wrong.getBoundingClientRect(); if (at.top < 60 || at.bottom > innerHeight - 60) wrong.scrollIntoView({ block: "center" }); }
document.addEventListener("htmx:afterSettle", load);
