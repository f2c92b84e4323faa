// Passkeys, for the forms marked with data-passkey: "create", "use" or "login". Pages work without:
// such a form is hidden until this finds that the browser can.
(() => {
  "use strict";

  const supported = window.PublicKeyCredential && window.webauthnJSON;

  async function options(form) {
    if (form.dataset.passkey !== "login") {
      return JSON.parse(document.getElementById("passkey-options").textContent);
    }
    const answer = await fetch(form.action, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error("The server gave no challenge.");
    return answer.json();
  }

  async function credential(form) {
    const asked = await options(form);
    if (form.dataset.passkey !== "create") return window.webauthnJSON.get(asked.request_options);
    const wanted = asked.creation_options;
    const alone = form.elements.passwordless.checked;
    Object.assign(wanted.publicKey.authenticatorSelection, {
      residentKey: alone ? "required" : "discouraged",
      requireResidentKey: alone,
      userVerification: alone ? "required" : "preferred",
    });
    return window.webauthnJSON.create(wanted);
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (!supported) continue;
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const failed = form.querySelector("[role=alert][hidden], [role=alert].again");
      if (failed) failed.hidden = true;
      try {
        form.elements.credential.value = JSON.stringify(await credential(form));
        form.submit();
      } catch (error) {
        if (failed) {
          failed.classList.add("again");
          failed.hidden = false;
        }
      }
    });
  }
})();
