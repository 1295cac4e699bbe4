// In a module of its own, imported first: extensions look for window.htmx while they load.
import htmx from "htmx.org/dist/htmx.esm.js";
window.htmx = htmx;
Object.assign(htmx.config, {
  allowEval: false, includeIndicatorStyles: false, historyCacheSize: 0, scrollIntoViewOnBoost: false, defaultSettleDelay: 0, timeout: 30000,
  responseHandling: [{ code: "204", swap: false }, { code: "...", swap: true }],
});
export default htmx;
