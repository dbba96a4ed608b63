// The hub counts its redirects in the address; without the count a reload starts afresh.
"use strict";

const address = new URL(window.location.href);
if (address.searchParams.has("redirects")) {
  address.searchParams.delete("redirects");
  window.history.replaceState(null, "", address);
}
