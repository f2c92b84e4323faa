// Shows the operations that have all the words that somebody looks for.
"use strict";

const words = document.getElementById("words");
const found = document.getElementById("found");
const rows = [...document.querySelectorAll("[data-words]")];

document.getElementById("find").hidden = false;

words.addEventListener("input", () => {
  const wanted = words.value.toLowerCase().split(/\s+/);
  let count = 0;
  for (const row of rows) {
    const text = row.dataset.words.toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
    count += row.hidden ? 0 : 1;
  }
  for (const tag of document.querySelectorAll(".tag")) {
    tag.hidden = !tag.querySelector("[data-words]:not([hidden])");
  }
  found.textContent = words.value.trim() ? `${count} of ${rows.length} operations` : "";
});
