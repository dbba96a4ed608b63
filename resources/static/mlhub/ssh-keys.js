// The page of SSH keys: take a key from a file, and copy commands. The page works without.
"use strict";

const MAX_KEY_BYTES = 16 * 1024;
const keyText = document.getElementById("key-text");
const keyFile = document.getElementById("key-file");
const keyError = document.getElementById("key-error");

/** Looked at here already: a private key must not even reach the hub. */
function refusePrivateKey(text) {
  const isPrivate = text.includes("PRIVATE KEY") || text.includes("PuTTY-User-Key-File");
  keyError.textContent = isPrivate ? "This is a private key, which must never leave your computer. Take the file that ends in .pub." : "";
  return isPrivate;
}

async function takeFile(file) {
  if (file.size > MAX_KEY_BYTES) {
    keyError.textContent = "This file is too large for a public key.";
    return;
  }
  const text = await file.text();
  if (!refusePrivateKey(text)) {
    keyText.value = text.trim();
  }
}

async function copy(button) {
  const field = document.getElementById(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
  } catch {
    // Without HTTPS there is no clipboard for pages: the text is selected, ready for Ctrl+C.
    field.select();
    button.textContent = "Press Ctrl+C";
  }
}

document.getElementById("add-key").addEventListener("submit", (event) => {
  if (refusePrivateKey(keyText.value)) {
    event.preventDefault();
  }
});
keyFile.classList.remove("d-none");
keyFile.addEventListener("change", () => keyFile.files[0] && takeFile(keyFile.files[0]));
for (const button of document.querySelectorAll("[data-copies]")) {
  button.classList.remove("d-none");
  button.addEventListener("click", () => copy(button));
}
window._jupyterhub_page_loaded = true;
