// The home page: stop, delete and add servers; the page is loaded again whenever a state has changed.
"use strict";

const user = window.jhdata.user;
const NOTICE = "mlhub-home-notice";
const FOCUS = "mlhub-home-focus";

function show(id, sentence) {
  const box = document.getElementById(id);
  box.textContent = sentence;
  box.classList.toggle("d-none", !sentence);
}

function reload(notice, focus = "") {
  sessionStorage.setItem(NOTICE, notice);
  sessionStorage.setItem(FOCUS, focus);
  window.location.reload();
}

function describe(row) {
  const title = row.querySelector(".server-title");
  return title ? `“${title.textContent}”` : "The default workspace";
}

function setBusy(row, text) {
  row.querySelectorAll("a.btn, button").forEach((button) => button.classList.toggle("d-none", Boolean(text)));
  row.querySelector(".server-busy-text").textContent = text;
  row.querySelector(".server-busy").classList.toggle("d-none", !text);
}

/** Ask until a server's start or stop is over; a hub that is away for a moment is asked again. */
async function waitWhilePending(name, pending) {
  for (;;) {
    try {
      if ((await hub.readState(user, name)) !== pending) {
        return;
      }
    } catch (error) {
      if (error.status !== 0 && error.status < 500) {
        throw error;
      }
    }
    await hub.pause(1000);
  }
}

/** Do something to a row's server, showing that it is being done, and its error if it fails. */
async function act(row, text, action) {
  show("home-error", "");
  setBusy(row, text);
  try {
    await action();
  } catch (error) {
    setBusy(row, "");
    show("home-error", error.message);
  }
}

function stopServer(row) {
  const name = row.dataset.serverName;
  return act(row, "Stopping…", async () => {
    await hub.call("DELETE", hub.serverPath(user, name));
    await waitWhilePending(name, "stop");
    reload(`${describe(row)} is stopped.`, name ? `start-${name}` : "start");
  });
}

function deleteServer(row) {
  const name = row.dataset.serverName;
  return act(row, "Deleting…", async () => {
    await hub.call("DELETE", hub.serverPath(user, name), { remove: true });
    reload(`${describe(row)} is deleted. Its data is in the trash.`, "new-server-name");
  });
}

function confirmDeletion(row) {
  const dialog = document.getElementById("delete-dialog");
  document.getElementById("delete-name").textContent = describe(row);
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "delete" && deleteServer(row);
  dialog.showModal();
}

/** Say what is wrong with a server's name, and which one would do; "" if nothing is. */
function explainName(name, taken) {
  if (name === "") {
    return "Enter a name.";
  }
  if (name.length > 30) {
    return `The name has ${name.length} characters. Choose one of at most 30.`;
  }
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) {
    const near = name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
    return `“${name}” can not be a server's name.${near ? ` “${near}” could.` : ""}`;
  }
  return taken.includes(name) ? `You have a server “${name}” already. Choose another name.` : "";
}

async function addServer(form) {
  const input = form.querySelector(".new-server-name");
  const name = input.value.trim();
  const taken = Array.from(document.querySelectorAll(".home-server-row"), (row) => row.dataset.serverName);
  let complaint = explainName(name, taken);
  if (!complaint) {
    form.querySelector("button").disabled = true;
    try {
      await hub.call("PUT", hub.serverPath(user, name), {});
      reload(`“${name}” is added. Start it when you need it.`, `start-${name}`);
      return;
    } catch (error) {
      complaint = error.message;
    }
    form.querySelector("button").disabled = false;
  }
  document.getElementById("new-server-error").textContent = complaint;
  input.classList.add("is-invalid");
  input.setAttribute("aria-invalid", "true");
  input.focus();
}

/** Write “5 minutes ago” in place of a date, in the reader's language; the date stays as a tooltip. */
function humanise(element) {
  const then = new Date(element.dateTime);
  const seconds = (then - Date.now()) / 1000;
  const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, length]) => -seconds >= length) || ["second", 1];
  element.title = then.toLocaleString();
  element.textContent = unit === "second" ? "just now" : new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(seconds / size), unit);
}

function start() {
  for (const row of document.querySelectorAll(".home-server-row")) {
    row.querySelector(".stop-server")?.addEventListener("click", () => stopServer(row));
    row.querySelector(".delete-server")?.addEventListener("click", () => confirmDeletion(row));
    const pending = { starting: "spawn", stopping: "stop" }[row.dataset.state];
    if (pending) {
      waitWhilePending(row.dataset.serverName, pending).then(() => reload(""), (error) => show("home-error", error.message));
    }
  }
  document.querySelectorAll("time.time-col").forEach(humanise);
  const form = document.getElementById("new-server");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    addServer(form);
  });
  show("home-notice", sessionStorage.getItem(NOTICE) || "");
  document.getElementById(sessionStorage.getItem(FOCUS) || "")?.focus();
  sessionStorage.removeItem(NOTICE);
  sessionStorage.removeItem(FOCUS);
  // The browser's "back" shows the page as it was; the servers may have changed since.
  window.addEventListener("pageshow", (event) => event.persisted && window.location.reload());
  window._jupyterhub_page_loaded = true;
}

start();
