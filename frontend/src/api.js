// The console's own calls to the API: the session's cookie, its CSRF token, and problems told as toasts.
import { toast } from "./ui.js";

export function csrf() { try { return JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"] ?? ""; } catch { return ""; } }

// tells what an answer that is no success says; `text` where it was read already
export async function fail(title, answer, text) {
  let problem = {};
  try { problem = JSON.parse(text ?? (await answer.text())); } catch { /* no JSON */ }
  const fields = (problem.errors ?? []).map((error) => error.message).filter((message) => message !== problem.detail).join(" ");
  toast({ title, text: [problem.detail || `${answer.status} ${answer.statusText}`, fields].filter(Boolean).join(" ") });
  return problem;
}

// the body of a success, {} for an empty one, null for what failed (told, unless `quiet`)
export async function call(method, url, { body, title = "", quiet = false } = {}) {
  let answer;
  try {
    answer = await fetch(url, { method, credentials: "same-origin", headers: { Accept: "application/json", ...(method === "GET" ? {} : { "X-CSRFToken": csrf() }), ...(body === undefined ? {} : { "Content-Type": "application/json" }) }, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    if (!quiet) toast({ title: document.body.dataset.offline, text: document.body.dataset.offlineHelp, id: "toast-offline" });
    return null;
  }
  if (!answer.ok) { if (!quiet) await fail(title, answer); return null; }
  const text = await answer.text();
  return text ? JSON.parse(text) : {};
}
