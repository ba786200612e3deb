// The question before a deletion: what goes, and what stays.

import { isGroup, isShared, person, quote, title } from "./words.js";

const $ = (id) => document.getElementById(id);

// confirmDeletion asks, and calls device.remove if the answer is yes. siblings are
// the names of the user's other devices.
export function confirmDeletion(device, id, { sync, siblings }) {
  const keep = $("confirm-keep");
  const everyone = $("confirm-everyone");
  keep.checked = everyone.checked = false;
  keep.parentElement.hidden = isShared(id);
  everyone.parentElement.hidden = !device.owned.has(id);
  const explain = () => {
    const lines = everyone.checked ? everyoneLines() : isShared(id) ? sharedLines(device) : keep.checked ? keptLines() : goneLines(device, id);
    if (!isShared(id)) lines.push(othersLine(id));
    lines.push(...siblings.map((name) => siblingLine(name, sync)));
    if (!device.online) lines.push(`${device.name} is offline: the request is sent once it is back.`);
    show(lines, everyone.checked ? "Delete for everyone" : keep.checked ? "Take off the list" : "Delete");
  };
  explain();
  keep.onchange = everyone.onchange = explain;
  ask(`Delete ${title(id)}?`, () => device.remove(id, { keepHistory: keep.checked, everyone: everyone.checked }));
}

// confirmAll asks before everything that the user has is deleted.
export function confirmAll(device, { sync, siblings, shared }) {
  $("confirm-keep").parentElement.hidden = $("confirm-everyone").parentElement.hidden = true;
  const lines = [`All of ${person(device.user)}’s chats are deleted from the server. None can be recovered.`, "The others keep their copies."];
  if (shared) lines.push(`Shared groups disappear for ${person(device.user)}; their other members still read them.`);
  lines.push("Messages that come later stay.", ...siblings.map((name) => siblingLine(name, sync)));
  show(lines, "Delete all");
  ask(`Delete all of ${person(device.user)}’s chats?`, () => device.removeAll().catch((err) => device.dispatchEvent(new CustomEvent("trouble", { detail: err }))));
}

function show(lines, answer) {
  $("confirm-what").replaceChildren(...lines.map(item));
  $("confirm-yes").textContent = answer;
}

// ask opens the dialog, and calls onYes if the answer is yes.
function ask(question, onYes) {
  const dialog = $("confirm");
  $("confirm-title").textContent = question;
  $("confirm-no").onclick = () => dialog.close();
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close(); // beside the box
  };
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    dialog.close();
    onYes();
  };
  dialog.showModal();
  $("confirm-no").focus();
}

const goneLines = (device, id) => [
  `Every message up to ${quote(device.copy.conversations[id]?.messages.at(-1)?.text ?? "")} is deleted from the server. None can be recovered.`,
  "Messages that come later stay.",
];

const keptLines = () => ["The chat leaves the list until the next message. Its messages stay on the server."];

const sharedLines = (device) => [
  `It disappears for ${person(device.user)} at once. The other members still read it.`,
  "Its rows leave the database once every member has deleted it.",
  "Messages that come later stay.",
];

const everyoneLines = () => [
  "It disappears for every member, and its rows leave the database. None can be recovered.",
  "Messages that come later stay.",
];

const othersLine = (id) => (isGroup(id) ? "The other members keep their copies." : `${title(id)} keeps their copy.`);

const siblingLine = (name, sync) =>
  sync ? `${name} removes it too.` : `${name} keeps its copy: “Delete on all devices” is off.`;

function item(text) {
  const element = document.createElement("li");
  element.textContent = text;
  return element;
}
