"use strict";
(() => {
  // A title becomes a note at the pointer, at once and in the page's own type; what reads the page aloud finds it as a label.
  const note = document.body.appendChild(document.createElement("div"));
  note.className = "tip";
  note.hidden = true;
  for (const title of document.querySelectorAll("svg .mark > title")) {
    title.parentNode.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  // The same application is told from the others on every chart.
  const light = (app, on) => {
    if (!app) return;
    for (const found of document.querySelectorAll(`[data-app="${CSS.escape(app)}"]`)) found.classList.toggle("found", on);
  };
  document.addEventListener("pointerover", (event) => {
    light(event.target.closest("[data-app]")?.dataset.app, true);
    const mark = event.target.closest(".mark");
    note.hidden = !mark;
    if (mark) note.textContent = mark.getAttribute("aria-label");
  });
  document.addEventListener("pointerout", (event) => light(event.target.closest("[data-app]")?.dataset.app, false));
  document.addEventListener("pointermove", (event) => {
    if (note.hidden) return;
    const left = Math.min(event.clientX + 14, innerWidth - note.offsetWidth - 8);
    note.style.translate = `${Math.max(8, left)}px ${Math.min(event.clientY + 18, innerHeight - note.offsetHeight - 8)}px`;
  });
})();
