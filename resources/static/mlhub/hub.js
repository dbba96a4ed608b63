// The hub's REST API as our own pages use it: the session's cookie, the XSRF token in a header.
"use strict";

class HubError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const hub = {
  /** Send a request; return what the hub answers, or throw a HubError with a sentence. */
  async call(method, path, body) {
    let response;
    try {
      response = await fetch(`${window.jhdata.base_url}api/${path}`, {
        method,
        headers: { "X-XSRFToken": window.jhdata.xsrf_token, "Content-Type": "application/json", Accept: "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
      });
    } catch {
      throw new HubError(translate("The hub does not answer. Check your connection and try again."), 0);
    }
    if (!response.ok) {
      throw new HubError(await hub.explain(response), response.status);
    }
    const text = await response.text();
    try {
      return JSON.parse(text);
    } catch {
      return null;
    }
  },

  /** Say in a sentence why a request was refused. */
  async explain(response) {
    if (response.status >= 502 && response.status <= 504) {
      return translate("The hub is starting anew. Try again in a few seconds.");
    }
    try {
      const { message } = await response.json();
      if (response.status === 403 && /xsrf/i.test(message || "")) {
        return translate("You have signed in or out in another tab since this page was loaded. Load it again.");
      }
      return message || translate("The hub answered with error {number}.", { number: response.status });
    } catch {
      return response.status === 403
        ? translate("Your session has ended. Load the page again and sign in.")
        : translate("The hub answered with error {number}.", { number: response.status });
    }
  },

  /** Return the API's path of a server; "" is the default one. */
  serverPath(user, name) {
    return `users/${encodeURIComponent(user)}/${name === "" ? "server" : `servers/${encodeURIComponent(name)}`}`;
  },

  /** Return what a server is doing: "spawn", "stop", "ready", or "" if it is not running. */
  async readState(user, name) {
    const server = (await hub.call("GET", `users/${encodeURIComponent(user)}`)).servers[name];
    return server ? server.pending || (server.ready ? "ready" : "") : "";
  },

  /** Write “5 minutes ago” in place of a date, in the page's language; the date stays as a tooltip. */
  humanise(element) {
    const then = new Date(element.dateTime);
    const seconds = (then - Date.now()) / 1000;
    const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, length]) => -seconds >= length) || ["second", 1];
    element.title = then.toLocaleString(document.documentElement.lang);
    element.textContent = unit === "second" ? translate("just now") : new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" }).format(Math.round(seconds / size), unit);
  },

  pause(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
  },
};
