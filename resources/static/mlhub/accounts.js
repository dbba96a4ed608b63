// Small comforts of all pages: passwords that can be seen, texts that can be copied. Every page works without them.
"use strict";

function toggleReveal(button) {
  const input = document.getElementById(button.dataset.reveals);
  const isHidden = input.type === "password";
  input.type = isHidden ? "text" : "password";
  button.setAttribute("aria-pressed", String(isHidden));
  button.title = isHidden ? translate("Hide password") : translate("Show password");
  for (const picture of button.querySelectorAll("svg")) {
    picture.classList.toggle("d-none");
  }
}

async function copy(button) {
  const field = document.getElementById(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = translate("Copied");
  } catch {
    // Without HTTPS there is no clipboard for pages: the text is selected, ready for Ctrl+C.
    field.select();
    button.textContent = translate("Press Ctrl+C");
  }
}

for (const button of document.querySelectorAll("button[data-reveals]")) {
  button.addEventListener("click", () => toggleReveal(button));
}

for (const button of document.querySelectorAll("[data-copies]")) {
  button.classList.remove("d-none");
  button.addEventListener("click", () => copy(button));
}

if (!window.isSecureContext) {
  for (const warning of document.querySelectorAll("[data-insecure-warning]")) {
    warning.classList.remove("d-none");
  }
}
