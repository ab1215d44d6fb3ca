"use strict";
for (const scan of document.querySelectorAll(".scan")) {
  const slider = scan.querySelector("input"), said = scan.querySelector("output");
  const columns = Number(scan.dataset.columns), view = scan.querySelector(".view");
  slider?.addEventListener("input", () => {
    const at = Number(slider.value) - 1;
    view.style.setProperty("--column", at % columns);
    view.style.setProperty("--row", Math.floor(at / columns));
    said.textContent = slider.value;
  });
}
for (const box of document.querySelectorAll("input[data-layer]")) {
  const show = () => document.body.classList.toggle(`without-${box.dataset.layer}`, !box.checked);
  box.addEventListener("change", show);
  show();
}
