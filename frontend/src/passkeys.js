// Buttons that ask the device for a passkey: options from the panel, the device's answer back to it, then on to where it says.
const decode = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)).buffer;
const encode = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function post(url, body) {
  const token = document.querySelector("[name=csrfmiddlewaretoken]")?.value ?? "";
  const answer = await fetch(url, { method: "POST", credentials: "same-origin", redirect: "error", headers: { "Content-Type": "application/json", "X-CSRFToken": token }, body: JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.detail), { told: true });
  return said;
}
function readable(options) {
  const known = (list) => (list ?? []).map((one) => ({ ...one, id: decode(one.id) }));
  const made = { ...options, challenge: decode(options.challenge) };
  if (options.user) { made.user = { ...options.user, id: decode(options.user.id) }; made.excludeCredentials = known(options.excludeCredentials); } else made.allowCredentials = known(options.allowCredentials);
  return made;
}
function sendable(credential) {
  const { response } = credential, out = { clientDataJSON: encode(response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) if (response[name]) out[name] = encode(response[name]);
  if (response.getTransports) out.transports = response.getTransports();
  return { id: credential.id, rawId: encode(credential.rawId), type: credential.type, authenticatorAttachment: credential.authenticatorAttachment, clientExtensionResults: credential.getClientExtensionResults(), response: out };
}
function showCodes(codes) {
  const box = document.querySelector("#passkey-codes");
  box.querySelector("ol").replaceChildren(...codes.map((code) => Object.assign(document.createElement("li"), { textContent: `${code}\n` })));
  document.querySelector(".add-passkey").hidden = true; box.hidden = false; box.scrollIntoView({ block: "center" });
}
for (const button of document.querySelectorAll("[data-passkey]")) {
  const { passkey: kind, options, finish, next, nameFrom } = button.dataset;
  const trouble = button.parentElement.querySelector(".err");
  if (!window.PublicKeyCredential || !navigator.credentials) { button.title = button.dataset.none; continue; }
  button.disabled = false;
  button.addEventListener("click", async () => {
    trouble.hidden = true; button.disabled = true;
    try {
      const asked = readable((await post(options, {})).publicKey);
      const credential = await navigator.credentials[kind]({ publicKey: asked });
      const done = await post(finish, { credential: sendable(credential), next, name: nameFrom ? document.querySelector(nameFrom).value : undefined });
      if (done.codes?.length) showCodes(done.codes); else if (new URL(done.to, location.href).pathname === location.pathname) location.reload(); else location.assign(done.to);
    } catch (error) {
      trouble.textContent = error.told ? error.message : error.name === "InvalidStateError" ? button.dataset.known : error.name === "NotAllowedError" ? button.dataset.no : button.dataset.lost;
      trouble.hidden = false;
    } finally { button.disabled = false; }
  });
}
