// The new-container form: shows what the request will be and where it would fit, while it is being filled in. The form works without this.
const form = document.querySelector("form[data-new-container]");
const preview = form.querySelector("#placement"), request = form.querySelector("#request");
let timer = 0, asked = 0;

async function look() {
  const mine = ++asked;
  const body = new FormData(form);
  const ask = async (url, box) => {
    if (!box || !url) return;
    try {
      const answer = await fetch(url, { method: "POST", body, headers: { "HX-Request": "true", "X-CSRFToken": body.get("csrfmiddlewaretoken") } });
      if (mine !== asked || answer.status >= 500) return;
      box.innerHTML = await answer.text();
    } catch { /* the form itself still works */ }
  };
  await Promise.all([ask(form.dataset.placement, preview), ask(form.dataset.request, request)]);
}
form.addEventListener("input", (event) => {
  const twin = event.target.dataset.twin && form.querySelector(`#${CSS.escape(event.target.dataset.twin)}`);
  if (twin) twin.value = event.target.value;
  for (const range of form.querySelectorAll(`[data-twin="${CSS.escape(event.target.id)}"]`)) range.value = event.target.value;
  clearTimeout(timer); timer = setTimeout(look, 250);
});
form.addEventListener("htmx:afterSettle", () => { clearTimeout(timer); timer = setTimeout(look, 50); });
look();
