// What Unfold's scripts leave undone.
"use strict";

// Its script for files wants a text field beside each, which shows the name; the browser's own does.
for (const input of document.querySelectorAll("input[type=file]")) input.hasChangeListener = true;

// Fields that complete while one types are left without the names of their labels by Select2.

function nameFields() {
  for (const select of document.querySelectorAll("select.admin-autocomplete")) {
    const label = document.querySelector(`label[for="${select.id}"]`);
    const shown = select.parentElement.querySelector(".select2-selection");
    const value = shown && shown.querySelector(".select2-selection__rendered");
    if (!label || !value) continue;
    label.id = label.id || `${select.id}_label`;
    value.setAttribute("aria-labelledby", label.id);
    shown.setAttribute("aria-labelledby", `${label.id} ${value.id}`);
  }
}

// After what makes these fields, which waits for jQuery in the same way.
if (window.django && window.django.jQuery) window.django.jQuery(nameFields);

// Where the window is narrow, the menu stands in front of its button: whoever opens it by key is
// led into it, and back when Escape closes it.

for (const button of document.querySelectorAll(".menu-button.narrow-only")) {
  const menu = document.getElementById("nav-sidebar");
  if (!menu) continue;
  // After what shows it.
  button.addEventListener("click", () => setTimeout(() => {
    if (button.getAttribute("aria-expanded") === "true") menu.querySelector("a").focus();
  }));
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && button.offsetParent) button.focus();
  });
}
