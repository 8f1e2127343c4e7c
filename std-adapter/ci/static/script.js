// Follows live logs and changed targets. All pages work without this script.
"use strict";

// Updates the content of the page to its current state.
async function refresh() {
  const response = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!response.ok || response.redirected) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const [main, fresh] = [document.getElementById("main"), page.getElementById("main")];
  const field = document.activeElement;
  // A visitor who is typing would lose their text.
  if (!fresh || (field && field.matches("input"))) return;
  const log = main.querySelector(".logview");
  const same = fresh.querySelector(".logview");
  // Keep the log that is being followed, with its scroll position and collapsed steps.
  if (log && same && log.dataset.url === same.dataset.url) same.replaceWith(log);
  main.replaceChildren(...fresh.childNodes);
  document.title = page.title;
  follow();
}

// Adds the lines of a live log as they are written.
function follow() {
  const view = document.querySelector(".logview");
  if (!view || view.dataset.following) return;
  view.dataset.following = "yes";
  const [tail, rest] = [view.querySelector(".tail"), view.querySelector(".rest")];
  const isAtEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < 40;
  const toEnd = () => { view.scrollTop = view.scrollHeight; };
  // The end of the log is on another page.
  const isEmbedded = location.pathname !== view.dataset.url;
  if (!location.hash && (isEmbedded || view.dataset.events)) toEnd();
  if (!view.dataset.events) return;
  const source = new EventSource(view.dataset.events);
  // The server escapes all log text.
  const add = (change) => { const atEnd = isAtEnd(); change(); if (atEnd) toEnd(); };
  source.addEventListener("lines", (event) => add(() => {
    tail.insertAdjacentHTML("beforeend", event.data);
    while (tail.childElementCount > 20000) tail.firstElementChild.remove();
  }));
  source.addEventListener("rest", (event) => add(() => { rest.innerHTML = event.data; }));
  source.addEventListener("end", () => { source.close(); location.reload(); });
  addEventListener("pagehide", () => source.close());
}

// Opens the step that contains the line named in the URL, or loads the part of the log that
// contains it.
function showLine() {
  const match = /^#L(\d+)$/.exec(location.hash);
  const view = document.querySelector(".logview");
  if (!match || !view) return;
  const line = document.getElementById("L" + match[1]);
  const step = line && line.closest("details");
  if (step) step.open = true;
  if (line) line.scrollIntoView({ block: "center" });
  else if (view.dataset.pages > 1 && location.pathname === view.dataset.url && !location.search.includes("line=")) {
    location.replace(view.dataset.url + "?line=" + match[1] + location.hash);
  }
}

const changes = document.getElementById("main")?.dataset.changes;
if (changes) {
  const source = new EventSource(changes);
  // If something changes during a refresh, another refresh is needed.
  let [running, again] = [false, false];
  const changed = async () => {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      await refresh().catch(() => {});
    }
    running = false;
  };
  source.addEventListener("changed", changed);
  addEventListener("pagehide", () => source.close());
}
addEventListener("hashchange", showLine);
follow();
showLine();
