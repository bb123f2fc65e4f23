// Adds the changes that come to those that are there, the newest on top; EventSource goes on where it was by itself.
"use strict";

const MOST = 200;
const MOST_HELD = 500;
const AGAIN = 5000;
const BRIEF = 4000;

const table = document.getElementById("live");
if (table) {
  const rows = table.querySelector("tbody");
  const connection = document.getElementById("connection");
  const held = document.getElementById("held");
  const pause = document.getElementById("pause");
  const wanted = table.dataset.event;
  let waiting = [];
  let missed = 0;
  let paused = false;
  let cursor = null;
  let refused = 0;

  let trouble = null;
  const say = (text, kind) => {
    clearTimeout(trouble);
    trouble = null;
    if (connection.textContent === text) return;
    connection.textContent = text;
    connection.className = `chip s-${kind}`;
  };

  const cell = (row, text, tag) => {
    const made = document.createElement("td");
    const inner = document.createElement(tag || "span");
    inner.textContent = text;
    made.append(inner);
    row.append(made);
    return inner;
  };

  const link = (change) => {
    const name = change.key.split("/").map(encodeURIComponent).join("/");
    if (change.bucket === "state") return `${table.dataset.states}/${name}`;
    if (table.dataset.browsable.split(" ").includes(change.bucket)) return `${table.dataset.keys}/${change.bucket}/key/${name}`;
    return null;
  };

  const outcome = (change) => {
    if (change.old_status === undefined) return change.exists ? "" : "removed";
    if (!change.exists) return "deleted";
    if (!change.old_status || change.old_status === change.new_status) return change.new_status;
    return `${change.old_status} \u2192 ${change.new_status}`;
  };

  const show = (change) => {
    const row = document.createElement("tr");
    row.className = "fresh";
    const time = cell(row, change.at.slice(0, 19).replace("T", " "), "time");
    time.dateTime = change.at;
    cell(row, change.bucket);
    const place = link(change);
    const key = cell(row, change.key, place ? "a" : "code");
    if (place) key.href = place;
    key.parentElement.className = "wrap";
    cell(row, change.event.replaceAll("_", " "));
    cell(row, outcome(change));
    cell(row, String(change.version)).parentElement.className = "number";
    cell(row, change.actor || "");
    rows.prepend(row);
    while (rows.children.length > MOST) rows.lastChild.remove();
    document.getElementById("nothing").hidden = true;
  };

  const take = (change) => {
    if (wanted && change.event !== wanted) return;
    if (!paused) return show(change);
    waiting.push(change);
    if (waiting.length > MOST_HELD) {
      waiting.shift();
      missed += 1;
    }
    held.textContent = `${waiting.length + missed} waiting`;
  };

  const listen = () => {
    const address = new URL(table.dataset.stream, location.href);
    if (cursor) address.searchParams.set("since", cursor);
    const source = new EventSource(address);
    source.onopen = () => {
      refused = 0;
      say("live", "active");
    };
    source.onerror = () => {
      // The server ends a stream now and then, to look whether it may go on: of that nothing is said.
      if (source.readyState !== EventSource.CLOSED) {
        trouble ??= setTimeout(say, BRIEF, "connecting again", "pending");
        return;
      }
      // The server has refused it: it is full, it is being started, or the login has ended.
      refused += 1;
      if (refused > 5) return say("ended: reload the page, or sign in again", "failed");
      say("connecting again", "pending");
      setTimeout(listen, AGAIN * refused);
    };
    source.onmessage = (event) => {
      cursor = event.lastEventId;
      const message = JSON.parse(event.data);
      if (message.type === "state_change") take(message.data);
      if (message.type === "compacted") say("some changes were missed: reload the page", "pending");
    };
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) return;
    waiting.forEach(show);
    waiting = [];
    missed = 0;
    held.textContent = "";
  });
  say("connecting", "pending");
  listen();
}
