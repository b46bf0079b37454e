// Which view is shown, and the ways between views and out of Airflow's frame.

import { closeImage, showImage } from "./image.js";
import { showLabels } from "./labels.js";
import { showReports } from "./reports.js";
import { showRuns } from "./runs.js";
import { showSearch } from "./search.js";
import { read } from "./state.js";

const VIEWS = { search: showSearch, labels: showLabels, runs: showRuns, reports: showReports };
const content = document.getElementById("content");
const framed = window.parent !== window;

function show() {
  const state = read();
  const view = state.view in VIEWS ? state.view : "search";
  for (const tab of document.querySelectorAll("nav a")) {
    if (tab.dataset.view === view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  VIEWS[view](content, state);
  if (state.image) showImage(state);
  else closeImage();
}

/** Follow a link in Airflow's own window: its frame for us allows neither downloads nor new tabs nor leaving. */
function leave(link) {
  const theirs = window.parent.document;
  const copy = theirs.createElement("a");
  copy.href = link.href;
  copy.target = link.target;
  copy.rel = "noopener";
  if (link.hasAttribute("download")) copy.download = link.download;
  theirs.body.append(copy);
  copy.click();
  copy.remove();
}

addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button) return;
  if (link.hasAttribute("data-leave")) {
    if (!framed) return;
    event.preventDefault();
    leave(link);
  } else if (link.getAttribute("href").startsWith("?") && !(event.metaKey || event.ctrlKey || event.shiftKey)) {
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    show();
  }
});

document.getElementById("copy").addEventListener("click", async ({ target }) => {
  await navigator.clipboard.writeText(location.href).then(
    () => (target.textContent = "Copied"),
    () => (target.textContent = "Copy the address"),
  );
  setTimeout(() => (target.textContent = "Copy link"), 2000);
});

document.getElementById("airflow").hidden = framed;
addEventListener("popstate", show);
show();
