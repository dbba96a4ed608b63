// The home page: stop, delete, add, extend and update servers; the page is loaded again whenever a state has changed.
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

// Within a sentence.
function title(row) {
  return row.querySelector(".server-title")?.textContent || "the default workspace";
}

function describe(row) {
  const name = row.querySelector(".server-title");
  return name ? `“${name.textContent}”` : "The default workspace";
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
  document.getElementById("delete-name").textContent = title(row);
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

function workspacePath(row) {
  return `${hub.serverPath(user, row.dataset.serverName)}/workspace`;
}

/** Write “expires in 3 days”, and nearer to the end hours and minutes. */
function describeRemaining(seconds) {
  if (seconds <= 0) {
    return "has expired";
  }
  const [unit, size] = [["day", 86400], ["hour", 3600]].find(([, length]) => seconds >= 2 * length) || ["minute", 60];
  return `expires ${new Intl.RelativeTimeFormat("en", { numeric: "always" }).format(Math.max(1, Math.round(seconds / size)), unit)}`;
}

/** Write the API's "23081M" as "22.5 GB". */
function describeSize(text) {
  const [, number, unit] = /^(\d+)([MGT])$/.exec(text) || [];
  if (unit === "M" && number >= 1024) {
    return `${Math.floor(number / 102.4) / 10} GB`;
  }
  return unit ? `${number} ${unit}B` : text;
}

function describeLimits(limits) {
  const words = [];
  if (limits.cpu_limit) {
    words.push(limits.cpu_limit === "unlimited" ? "CPU without limit" : `${limits.cpu_limit} CPU`);
  }
  if (limits.mem_limit) {
    words.push(limits.mem_limit === "unlimited" ? "memory without limit" : `${describeSize(limits.mem_limit)} memory`);
  }
  if (limits.gpus && limits.gpus !== "0") {
    words.push(limits.gpus === "all" ? "all GPUs" : `${limits.gpus} GPU`);
  }
  return words.join(" · ");
}

/** Fill in what the REST API knows of a server: limits, time left, a newer image. */
function showFacts(row, workspace) {
  const facts = document.getElementById("facts-template").content.cloneNode(true);
  const what = title(row);
  facts.querySelectorAll(".fact-what").forEach((span) => {
    span.textContent = ` ${what}`;
  });
  facts.querySelector(".fact-limits").textContent = describeLimits(workspace.limits || {});
  const expiry = facts.querySelector(".fact-expiry");
  if (workspace.remaining_seconds === null) {
    expiry.remove();
  } else {
    const text = expiry.querySelector(".fact-expiry-text");
    text.textContent = describeRemaining(workspace.remaining_seconds);
    text.title = new Date(1000 * workspace.expires_at).toLocaleString();
    text.classList.toggle("text-danger", workspace.remaining_seconds < 86400);
    const button = expiry.querySelector("button");
    if (workspace.may_extend) {
      button.addEventListener("click", () => askForDays(row, workspace));
    } else {
      button.remove();
    }
  }
  const update = facts.querySelector(".fact-update");
  if (workspace.image.update_available) {
    update.querySelector("button").addEventListener("click", () => confirmUpdate(row));
  } else {
    update.remove();
  }
  row.querySelector(".server-facts").replaceChildren(facts);
  if (row.dataset.state === "running" && workspace.image.reference) {
    const image = row.querySelector(".server-image");
    image.textContent = workspace.image.name || workspace.image.reference;
    image.title = workspace.image.reference;
  }
}

async function loadFacts(row) {
  let workspace;
  try {
    workspace = await hub.call("GET", workspacePath(row));
  } catch {
    return; // A site's own spawner knows nothing of this, and the page is whole without it.
  }
  showFacts(row, workspace);
}

function askForDays(row, workspace) {
  const dialog = document.getElementById("extend-dialog");
  const input = document.getElementById("extend-days");
  document.getElementById("extend-name").textContent = title(row);
  document.getElementById("extend-error").textContent = "";
  document.getElementById("extend-help").textContent = workspace.most_days === null ? "0 is for ever." : `At most ${workspace.most_days}.`;
  input.value = workspace.most_days ?? Math.ceil(workspace.remaining_seconds / 86400) + 7;
  input.removeAttribute("aria-invalid");
  document.getElementById("extend-cancel").onclick = () => dialog.close();
  document.getElementById("extend-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      showFacts(row, await hub.call("PATCH", workspacePath(row), { days_to_live: input.value.trim() }));
      dialog.close();
      show("home-notice", `${describe(row)} is extended.`);
      row.querySelector(".extend-server")?.focus();
    } catch (error) {
      // There is one field only, and which rule it was is nothing for this place.
      document.getElementById("extend-error").textContent = error.message.replace(/^days_to_live=/, "").replace(/ \(Rule: .*\)\.?$/, "");
      input.setAttribute("aria-invalid", "true");
      input.focus();
    }
  };
  dialog.showModal();
  input.select();
}

function confirmUpdate(row) {
  const dialog = document.getElementById("update-dialog");
  document.getElementById("update-name").textContent = title(row);
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "update" && updateServer(row);
  dialog.showModal();
}

function updateServer(row) {
  const name = row.dataset.serverName;
  return act(row, "Updating…", async () => {
    const answer = await hub.call("POST", `${workspacePath(row)}/update`);
    if (row.dataset.state !== "running") {
      reload(answer?.message || "The next start takes the newer image.");
      return;
    }
    await waitForStart(name);
    window.location.assign(row.querySelector(".server-link").dataset.pendingUrl);
  });
}

/** Wait until a server that is updated has stopped and starts again. */
async function waitForStart(name) {
  for (let attempt = 0; attempt < 120; attempt += 1) {
    const state = await hub.readState(user, name).catch(() => "");
    if (state === "spawn" || state === "ready") {
      return;
    }
    await hub.pause(1000);
  }
}

function start() {
  for (const row of document.querySelectorAll(".home-server-row")) {
    row.querySelector(".stop-server")?.addEventListener("click", () => stopServer(row));
    row.querySelector(".delete-server")?.addEventListener("click", () => confirmDeletion(row));
    loadFacts(row);
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
