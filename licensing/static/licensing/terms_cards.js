// Asks for the preview anew on each change. Without this script, the button does the same.
"use strict";

(() => {
  const WAIT_MS = 300;
  // A field that matters only where another one has a value.
  const WHEN = {
    places: ["where", "some"],
    more_places: ["where", "some"],
    offered: ["where", "some"],
    model_name: ["models", "named"],
    quote_words: ["quotes", "some"],
  };

  for (const root of document.querySelectorAll("[data-terms-cards]")) {
    const form = root.closest("form");
    const region = root.querySelector("[data-terms-preview]");
    if (!form || !region) continue;
    let timer = 0;
    let asked = null;

    const show = () => {
      const data = new FormData(form);
      for (const [name, [other, value]] of Object.entries(WHEN)) {
        const field = root.querySelector(`[data-field="${name}"]`);
        if (field) field.hidden = data.get(other) !== value;
      }
      const amounts = root.querySelectorAll('[data-field="amount"], [data-field="currency"]');
      for (const field of amounts) field.hidden = data.get("basis") === "free" && !data.get("amount");
    };

    const ask = async () => {
      if (asked) asked.abort();
      asked = new AbortController();
      region.setAttribute("aria-busy", "true");
      try {
        const answer = await fetch(root.dataset.previewUrl, {
          method: "POST",
          body: new FormData(form),
          headers: { "X-Terms-Preview": "1" },
          credentials: "same-origin",
          signal: asked.signal,
        });
        if (!answer.ok) throw new Error(String(answer.status));
        const made = document.createElement("template");
        made.innerHTML = await answer.text();
        // Part by part: what is read aloud stays the same element, and only when it says another thing.
        for (const part of made.content.querySelectorAll("[data-part]")) {
          const shown = region.querySelector(`[data-part="${part.dataset.part}"]`);
          if (shown && shown.innerHTML !== part.innerHTML) shown.replaceChildren(...part.childNodes);
        }
        region.removeAttribute("aria-busy");
      } catch (error) {
        if (error.name === "AbortError") return;
        // What stands there is old now: the button is the way to a new one.
        region.removeAttribute("aria-busy");
        root.classList.remove("is-live");
      }
    };

    root.classList.add("is-live");
    show();
    root.addEventListener("input", (event) => {
      if (!event.target.name) return;
      show();
      clearTimeout(timer);
      timer = setTimeout(ask, WAIT_MS);
    });
  }
})();
