// Sends requests to this market, with the key in this page's memory and nowhere else.
"use strict";

const key = document.getElementById("key");
const choose = document.getElementById("choose");
const operation = document.getElementById("operation");
const state = document.getElementById("status");
const answer = document.getElementById("answer");

choose.addEventListener("submit", async (event) => {
  event.preventDefault();
  const address = `${choose.action}?${new URLSearchParams(new FormData(choose))}`;
  // The form alone is exchanged: another page would not know the key.
  const page = await (await fetch(address)).text();
  const shown = new DOMParser().parseFromString(page, "text/html").getElementById("operation");
  operation.replaceChildren(...shown.childNodes);
  document.getElementById("operation-heading").focus();
});

operation.addEventListener("submit", async (event) => {
  event.preventDefault();
  state.textContent = "Sent …";
  answer.hidden = true;
  try {
    await show(await fetch(...request(event.target)));
  } catch (error) {
    state.textContent = `No answer came: ${error.message}`;
  }
});

function request(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = new Headers();
  for (const field of form.querySelectorAll("[data-place]")) {
    if (field.dataset.place === "path") {
      path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    } else if (field.value && field.dataset.place === "query") {
      query.append(field.name, field.value);
    } else if (field.value) {
      headers.set(field.name, field.value);
    }
  }
  const { method, mediaType } = form.dataset;
  const secret = key.value.trim();
  if (secret) {
    headers.set("Authorization", `Bearer ${secret}`);
  } else if (method !== "GET") {
    // Of whoever is signed in here.
    headers.set("X-CSRFToken", operation.dataset.token);
  }
  if (mediaType) {
    headers.set("Content-Type", mediaType);
  }
  const body = form.elements.file ? form.elements.file.files[0] : form.elements.body?.value;
  const address = query.size ? `${path}?${query}` : path;
  return [address, { method, headers, body, credentials: secret ? "omit" : "same-origin" }];
}

async function show(response) {
  const type = response.headers.get("Content-Type") ?? "";
  const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`);
  let text = `(${type})`;
  if (/json|text/.test(type)) {
    text = await response.text();
    try {
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // Text is shown as it came.
    }
  }
  answer.textContent = `${lines.join("\n")}\n\n${text}`;
  answer.hidden = false;
  state.textContent = `${response.status} ${response.statusText}`;
}
