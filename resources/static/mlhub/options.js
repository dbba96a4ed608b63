// Comforts of the form that starts a workspace; it works without them.
"use strict";

const form = document.getElementById("spawn_form");
const images = form.querySelectorAll("[name=image]");
const OTHER_IMAGE = ":other";

function findChosen() {
  return form.querySelector("[name=image]:checked, select[name=image] option:checked");
}

/** Show only what goes with the chosen image; what is hidden is not sent. */
function fit() {
  const chosen = findChosen();
  if (!chosen) {
    return;
  }
  const offered = chosen.dataset.offers?.split(" ");
  for (const field of form.querySelectorAll("[data-option]")) {
    const name = field.dataset.option;
    const isHidden = name === "custom_image" ? chosen.value !== OTHER_IMAGE : name !== "image" && offered !== undefined && !offered.includes(name);
    field.hidden = isHidden;
    field.querySelectorAll("input, select, textarea").forEach((input) => {
      input.disabled = isHidden;
    });
  }
  const more = form.querySelector("details");
  if (more) {
    more.hidden = !more.querySelector("[data-option]:not([hidden])");
  }
}

function setBusy(isBusy) {
  const button = form.querySelector("[data-busy]");
  if (isBusy) {
    button.dataset.idle = button.textContent;
  }
  button.textContent = isBusy ? button.dataset.busy : button.dataset.idle || button.textContent;
  button.disabled = isBusy;
}

images.forEach((input) => input.addEventListener("change", fit));
fit();
form.addEventListener("submit", () => setBusy(true));
// The browser's "back" shows the page as it was left.
window.addEventListener("pageshow", (event) => event.persisted && setBusy(false));
document.getElementById("form-errors")?.focus();
window._jupyterhub_page_loaded = true;
