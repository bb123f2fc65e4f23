// Shows the changes that the event stream tells of, the newest on top. EventSource goes on where it was by itself.
"use strict";

const MOST = 100;
const rows = document.getElementById("changes");
const connection = document.getElementById("connection");

function say(text, kind) {
  connection.textContent = text;
  connection.className = `badge s-${kind}`;
}

function cell(text, className) {
  const made = document.createElement("td");
  const inner = document.createElement(className === "id" || className === "code" ? "code" : "span");
  inner.textContent = text;
  if (className) made.className = className;
  made.append(inner);
  return made;
}

function side(change, status, value, there) {
  if (status) return status;
  return there ? JSON.stringify(value) : "";
}

function show(change) {
  const row = document.createElement("tr");
  row.dataset.key = change.key;
  row.append(
    cell(change.at.slice(11, 19), "time"),
    cell(change.key, "id"),
    cell(change.event),
    cell(side(change, change.old_status, change.old_value, change.existed), "code"),
    cell(side(change, change.new_status, change.new_value, change.exists), "code"),
    cell(change.actor || ""),
  );
  rows.prepend(row);
  while (rows.children.length > MOST) rows.lastChild.remove();
  document.getElementById("nothing").hidden = true;
}

const source = new EventSource(rows.dataset.stream);
source.onopen = () => say("live", "active");
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) say("ended: reload the page, or log in again", "failed");
  else say("connecting again", "pending");
};
source.onmessage = (event) => {
  const message = JSON.parse(event.data);
  if (message.type === "state_change") show(message.data);
  if (message.type === "compacted") say("some changes were missed", "pending");
};
