// The question before a deletion: what goes, and what stays.

import { lastSeq } from "./model.js";
import { isGroup, number, title } from "./words.js";

const $ = (id) => document.getElementById(id);

// confirmDeletion asks, and calls device.remove if the answer is yes. siblings are
// the names of the user's other devices.
export function confirmDeletion(device, id, { sync, siblings }) {
  const dialog = $("confirm");
  const keep = $("confirm-keep");
  $("confirm-title").textContent = `Delete ${title(id)}?`;
  keep.checked = false;
  const explain = () => {
    const lines = keep.checked ? keptLines() : goneLines(device, id);
    lines.push(othersLine(id), ...siblings.map((name) => siblingLine(name, sync)));
    if (!device.online) lines.push(`${device.name} is offline: the request is sent once it is back.`);
    $("confirm-what").replaceChildren(...lines.map(item));
    $("confirm-yes").textContent = keep.checked ? "Take off the list" : "Delete";
  };
  explain();
  keep.onchange = explain;
  $("confirm-no").onclick = () => dialog.close();
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close(); // beside the box
  };
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    dialog.close();
    device.remove(id, keep.checked);
  };
  dialog.showModal();
  $("confirm-no").focus();
}

const goneLines = (device, id) => [
  `Every message up to #${number(lastSeq(device.copy, id))} is removed from the server. It can’t be recovered.`,
  "Messages that come later stay.",
];

const keptLines = () => ["The conversation leaves the list until the next message. Its history stays on the server."];

const othersLine = (id) => (isGroup(id) ? "The other members keep their copies." : `${title(id)} keeps their copy.`);

const siblingLine = (name, sync) =>
  sync ? `Sync is on: ${name} removes it too.` : `Sync is off: ${name} isn’t told and keeps its copy.`;

function item(text) {
  const element = document.createElement("li");
  element.textContent = text;
  return element;
}
