// The page of SSH keys: take a key from a file. The page works without.
"use strict";

const MAX_KEY_BYTES = 16 * 1024;
const keyText = document.getElementById("key-text");
const keyFile = document.getElementById("key-file");
const keyError = document.getElementById("key-error");

/** Looked at here already: a private key must not even reach the hub. */
function refusePrivateKey(text) {
  const isPrivate = text.includes("PRIVATE KEY") || text.includes("PuTTY-User-Key-File");
  keyError.textContent = isPrivate ? translate("This is a private key, which must never leave your computer. Take the file that ends in .pub.") : "";
  return isPrivate;
}

async function takeFile(file) {
  if (file.size > MAX_KEY_BYTES) {
    keyError.textContent = translate("This file is too large for a public key.");
    return;
  }
  const text = await file.text();
  if (!refusePrivateKey(text)) {
    keyText.value = text.trim();
  }
}

document.getElementById("add-key").addEventListener("submit", (event) => {
  if (refusePrivateKey(keyText.value)) {
    event.preventDefault();
  }
});
keyFile.classList.remove("d-none");
keyFile.addEventListener("change", () => keyFile.files[0] && takeFile(keyFile.files[0]));
window._jupyterhub_page_loaded = true;
