// Small comforts of the account pages; every page works without them.
"use strict";

function toggleReveal(button) {
  const input = document.getElementById(button.dataset.reveals);
  const isHidden = input.type === "password";
  input.type = isHidden ? "text" : "password";
  button.setAttribute("aria-pressed", String(isHidden));
  button.title = isHidden ? "Hide password" : "Show password";
  button.querySelector("i").className = isHidden ? "fa fa-eye-slash" : "fa fa-eye";
}

for (const button of document.querySelectorAll("button[data-reveals]")) {
  button.addEventListener("click", () => toggleReveal(button));
}

if (!window.isSecureContext) {
  for (const warning of document.querySelectorAll("[data-insecure-warning]")) {
    warning.classList.remove("d-none");
  }
}
