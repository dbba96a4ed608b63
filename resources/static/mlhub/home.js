// The home page: stop, restart, delete, extend and update workspaces. What changes elsewhere is shown without a reload.
"use strict";

const user = window.jhdata.user;
const NOTICE = "mlhub-home-notice";
// Each look is a request to the hub, from every home page that is open: often only while something goes on.
const LOOK_AGAIN_MILLISECONDS = 15000;
const LOOK_SOON_MILLISECONDS = 3000;
const UPDATE = translate("It is stopped and started from the newer image; what runs in it ends. Files in its volume and its options are kept. If the newer image does not start, the old one does.");
const RESTART = translate("What runs in it ends, notebooks' kernels too. Its files and options are kept.");
const rows = () => Array.from(document.querySelectorAll(".home-server-row"));

function show(id, sentence) {
  const box = document.getElementById(id);
  box.textContent = sentence;
  box.classList.toggle("d-none", !sentence);
}

// Within a sentence.
function title(row) {
  return row.dataset.serverName ? row.querySelector(".server-title").textContent : translate("the default workspace");
}

function describe(row) {
  return row.dataset.serverName ? translate("“{name}”", { name: title(row) }) : translate("The default workspace");
}

function setState(row, state, text = "") {
  row.dataset.state = state;
  const badge = row.querySelector(".server-state");
  badge.textContent = nameState(state);
  const color = { running: "text-bg-success", stopped: "text-bg-secondary" }[state] || "text-bg-warning";
  badge.className = `badge ${color} server-state`;
  row.querySelector(".server-busy-text").textContent = text || `${badge.textContent}…`;
}

function pathOf(row) {
  return hub.serverPath(user, row.dataset.serverName);
}

/** Return the state of each workspace by its name, in the words of this page. */
async function readStates() {
  const { servers } = await hub.call("GET", `users/${encodeURIComponent(user)}?include_stopped_servers`);
  const words = { spawn: "starting", stop: "stopping" };
  return new Map(
    Object.values(servers).map((each) => [each.name, words[each.pending] || (each.pending ? "starting" : each.ready ? "running" : "stopped")]),
  );
}

/** Show what was made elsewhere, and take away what was deleted there. */
async function showOthers(states) {
  const place = document.getElementById("new-workspace");
  if (!place) {
    return; // The site allows the default workspace alone.
  }
  for (const row of rows()) {
    if (row.dataset.serverName && !row.dataset.busy && !states.has(row.dataset.serverName)) {
      row.remove();
    }
  }
  const known = rows().map((row) => row.dataset.serverName);
  for (const name of Array.from(states.keys()).filter((each) => !known.includes(each))) {
    const { html } = await hub.call("GET", `${hub.serverPath(user, name)}/card`).catch(() => ({ html: "" }));
    // Made by the hub's own template, as the rest of the page.
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const row = holder.content.querySelector(".home-server-row");
    if (row && !rows().some((each) => each.dataset.serverName === name)) {
      document.querySelector(".mlhub-workspaces-grid").insertBefore(row, place);
      prepare(row);
    }
  }
}

/** Look whether something has changed, here or elsewhere, and show it. */
async function lookAgain() {
  let states;
  try {
    states = await readStates();
  } catch {
    return; // The hub is away for a moment, or the session has ended: the next click tells.
  }
  await showOthers(states);
  let hasChanged = false;
  for (const row of rows()) {
    const state = states.get(row.dataset.serverName) || "stopped";
    if (!row.dataset.busy && state !== row.dataset.state) {
      setState(row, state);
      hasChanged = true;
    }
  }
  if (hasChanged) {
    // One that stopped may make room for another one; one that stops may be about to be deleted.
    rows().filter((row) => !["starting", "stopping"].includes(row.dataset.state)).forEach(loadFacts);
  }
}

/** Do something to a row's workspace, showing that it is being done, and its error if it fails. */
async function act(row, text, action) {
  show("home-error", "");
  show("home-notice", "");
  const before = row.dataset.state;
  row.dataset.busy = "yes";
  setState(row, "stopping", text);
  try {
    await action();
  } catch (error) {
    setState(row, before);
    show("home-error", error.message);
  } finally {
    delete row.dataset.busy;
  }
}

/** Wait until a stop is over; a hub that is away for a moment is asked again. */
async function waitUntilStopped(row) {
  for (;;) {
    try {
      if (((await readStates()).get(row.dataset.serverName) || "stopped") === "stopped") {
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

function stopServer(row) {
  return act(row, translate("Stopping…"), async () => {
    await hub.call("DELETE", pathOf(row));
    await waitUntilStopped(row);
    setState(row, "stopped");
    show("home-notice", translate("{what} is stopped.", { what: describe(row) }));
    rows().forEach(loadFacts);
    row.querySelector(".start-server").focus();
  });
}

function restartServer(row) {
  return act(row, translate("Restarting…"), async () => {
    await hub.call("DELETE", pathOf(row));
    await waitUntilStopped(row);
    await hub.call("POST", pathOf(row));
    window.location.assign(row.querySelector(".server-link").dataset.pendingUrl);
  });
}

function deleteServer(row) {
  return act(row, translate("Deleting…"), async () => {
    await hub.call("DELETE", pathOf(row), { remove: true });
    if (!row.dataset.serverName) {
      // Everybody has one: what follows is a new one.
      sessionStorage.setItem(NOTICE, translate("{what} is deleted. Its data is in the trash.", { what: describe(row) }));
      window.location.reload();
      return;
    }
    show("home-notice", translate("{what} is deleted. Its data is in the trash.", { what: describe(row) }));
    row.remove();
    rows().forEach(loadFacts);
    document.getElementById("new-server-name")?.focus();
  });
}

function confirmDeletion(row) {
  const dialog = document.getElementById("delete-dialog");
  document.getElementById("delete-name").textContent = title(row);
  document.getElementById("delete-default").classList.toggle("d-none", row.dataset.serverName !== "");
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "delete" && deleteServer(row);
  dialog.showModal();
}

function confirm(verb, question, sentence, action) {
  const dialog = document.getElementById("update-dialog");
  document.getElementById("update-heading").textContent = question;
  document.getElementById("update-go").textContent = verb;
  document.getElementById("update-what").textContent = sentence;
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "go" && action();
  dialog.showModal();
}

/** Write “expires in 3 days”, and nearer to the end hours and minutes. */
function describeRemaining(seconds) {
  if (seconds <= 0) {
    return translate("has expired");
  }
  const [unit, size] = [["day", 86400], ["hour", 3600]].find(([, length]) => seconds >= 2 * length) || ["minute", 60];
  return new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always" }).format(Math.max(1, Math.round(seconds / size)), unit);
}

/** Fill in what the REST API knows of a workspace: limits, time left, a newer image, why it cannot start. */
function showFacts(row, workspace) {
  row.querySelector(".server-limits").textContent = workspace.limits_text;
  const expiry = row.querySelector(".server-expiry");
  expiry.classList.toggle("d-none", workspace.remaining_seconds === null);
  if (workspace.remaining_seconds !== null) {
    const text = expiry.querySelector("dd");
    text.textContent = describeRemaining(workspace.remaining_seconds);
    text.title = new Date(1000 * workspace.expires_at).toLocaleString(document.documentElement.lang);
    text.classList.toggle("text-danger", workspace.remaining_seconds < 86400);
  }
  const extend = row.querySelector(".extend-server");
  extend.classList.toggle("d-none", !workspace.may_extend);
  extend.onclick = () => askForDays(row, workspace);
  const update = row.querySelector(".update-server");
  update.classList.toggle("d-none", !workspace.image.update_available);
  update.onclick = () => confirm(translate("Update"), translate("Update {what}?", { what: title(row) }), UPDATE, () => updateServer(row));
  const refusal = row.querySelector(".server-refusal");
  refusal.textContent = workspace.refusal;
  refusal.classList.toggle("d-none", !workspace.refusal);
  row.querySelector(".start-server").disabled = Boolean(workspace.refusal);
  if (row.dataset.state === "running" && workspace.image.reference) {
    const image = row.querySelector(".server-image");
    image.textContent = workspace.image.name || image.textContent || workspace.image.reference;
    image.title = workspace.image.reference;
  }
}

async function loadFacts(row) {
  let workspace;
  try {
    workspace = await hub.call("GET", `${pathOf(row)}/workspace`);
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
  document.getElementById("extend-help").textContent = workspace.most_days === null ? translate("0 is for ever.") : translate("At most {number}.", { number: workspace.most_days });
  input.value = workspace.most_days ?? Math.ceil(workspace.remaining_seconds / 86400) + 7;
  input.removeAttribute("aria-invalid");
  document.getElementById("extend-cancel").onclick = () => dialog.close();
  document.getElementById("extend-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      showFacts(row, await hub.call("PATCH", `${pathOf(row)}/workspace`, { days_to_live: input.value.trim() }));
      dialog.close();
      show("home-notice", translate("{what} is extended.", { what: describe(row) }));
      // The warning tells the time from before.
      document.querySelectorAll(".mlhub-expiry").forEach((warning) => warning.dataset.serverName === row.dataset.serverName && warning.remove());
      row.querySelector(".extend-server").focus();
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

function updateServer(row) {
  const isRunning = row.dataset.state === "running";
  return act(row, translate("Updating…"), async () => {
    const answer = await hub.call("POST", `${pathOf(row)}/workspace/update`);
    if (!isRunning) {
      sessionStorage.setItem(NOTICE, answer?.message || translate("The next start takes the newer image."));
      window.location.reload();
      return;
    }
    await waitForStart(row.dataset.serverName);
    window.location.assign(row.querySelector(".server-link").dataset.pendingUrl);
  });
}

/** Wait until a workspace that is updated has stopped and starts again. */
async function waitForStart(name) {
  for (let attempt = 0; attempt < 120; attempt += 1) {
    const state = await hub.readState(user, name).catch(() => "");
    if (state === "spawn" || state === "ready") {
      return;
    }
    await hub.pause(1000);
  }
}

async function keepLooking() {
  for (;;) {
    const isPending = rows().some((row) => ["starting", "stopping"].includes(row.dataset.state));
    await hub.pause(isPending ? LOOK_SOON_MILLISECONDS : LOOK_AGAIN_MILLISECONDS);
    if (!document.hidden) {
      await lookAgain();
    }
  }
}

/** A start is sent once, however often the button is pressed. */
function guardForm(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
    }
    form.dataset.sent = "yes";
  });
}

/** Act here, where the button without scripts would lead to a page that asks. */
function takeOver(row, selector, action) {
  row.querySelector(selector)?.addEventListener("click", (event) => {
    event.preventDefault();
    action(row);
  });
}

function prepare(row) {
  takeOver(row, ".stop-server", stopServer);
  takeOver(row, ".restart-server", () => confirm(translate("Restart"), translate("Restart {what}?", { what: title(row) }), RESTART, () => restartServer(row)));
  takeOver(row, ".delete-server", confirmDeletion);
  row.querySelectorAll(".start-form").forEach(guardForm);
  row.querySelectorAll("time.time-col").forEach(hub.humanise);
  loadFacts(row);
}

function start() {
  rows().forEach(prepare);
  document.querySelectorAll("#new-server").forEach(guardForm);
  show("home-notice", sessionStorage.getItem(NOTICE) || "");
  sessionStorage.removeItem(NOTICE);
  keepLooking();
  document.addEventListener("visibilitychange", () => !document.hidden && lookAgain());
  // The browser's "back" shows the page as it was; the workspaces may have changed since.
  window.addEventListener("pageshow", (event) => event.persisted && window.location.reload());
  window._jupyterhub_page_loaded = true;
}

start();
