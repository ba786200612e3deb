// What happened: in the log, and for some seconds in the head of the page.

import { clone } from "./dom.js";
import { count, number, person, timeNow, title, why } from "./words.js";

const logLimit = 200;
const toastLife = 6_000; // ms
const toastLimit = 1; // in the head of the page, so that it covers no device

const $ = (id) => document.getElementById(id);

// record writes a sentence: name is its subject, kind is for its looks.
export function record(name, kind, text) {
  const line = clone("t-log");
  line.dataset.kind = kind;
  line.querySelector("time").textContent = timeNow();
  line.querySelector(".who").textContent = name;
  line.querySelector(".what").textContent = text;
  $("log").prepend(line);
  while ($("log").children.length > logLimit) $("log").lastElementChild.remove();
  $("log-empty").hidden = true;
}

// fail says that what the user asked for on this page could not be done.
export function fail(text) {
  record("This page", "failed", `had an error: ${text}`);
  toast(text, "failed");
}

// toast says something for a while, and to who listens.
export function toast(text, kind = "info") {
  const element = document.createElement("div");
  element.className = `toast ${kind}`;
  element.textContent = text;
  const box = $("toasts");
  box.append(element);
  while (box.children.length > toastLimit) box.firstElementChild.remove();
  setTimeout(() => element.remove(), toastLife);
}

// tell writes down what the presence service sent to a device. siblings are the
// names of the user's other devices.
export function tell(device, detail, siblings) {
  const { kind, data } = detail;
  const what = data?.conversation_id ? title(data.conversation_id) : "a chat";
  switch (kind) {
    case "deleted":
      return tellDeleted(device, detail, siblings);
    case "repeated":
      return record(device.name, "quiet", `heard again that ${what} was deleted. Nothing changes.`);
    case "erased":
      return record(device.name, "deleted", `heard that the rows of ${what} have left the database, since no member reads them.`);
    case "all":
      return record(device.name, "deleted", `deleted all chats: ${count(data.conversations, "chat")}, ${count(data.messages_deleted, "message")}${data.failed ? `; ${number(data.failed)} failed` : ""}.`);
    case "failed":
      record(device.name, "failed", `could not delete ${what}. ${why(data.reason)} (${data.reason})`);
      return toast(`${device.name} could not delete ${what}. ${why(data.reason)}`, "failed");
    case "resync":
      return record(device.name, "quiet", "was away for too long, and loaded its chats again.");
  }
}

function tellDeleted(device, { data, left, took }, siblings) {
  const what = title(data.conversation_id);
  const asked = data.origin_device_id === device.id;
  record(device.name, "deleted", deletedSentence(device, data, { asked, took, left }));
  if (!asked) return;
  if (!data.multi_client_sync) {
    for (const name of siblings) record(name, "quiet", `still has ${what}: “Delete on all devices” is off.`);
  }
  if (data.history_kept) toast(`${what} is off the list.`);
  else toast(isHidden(data) ? `${what} is deleted for ${person(device.user)}.` : `${what} is deleted: ${count(data.messages_deleted, "message")}.`);
}

// isHidden says that a shared group's rows are in the database yet.
const isHidden = (data) => data.erased === false && !data.requested_by;

function deletedSentence(device, data, { asked, took, left }) {
  const what = title(data.conversation_id);
  if (data.history_kept) return `took ${what} off the list. Its messages stay on the server.`;
  const later = left > 0 ? ` ${count(left, "newer message")} ${left === 1 ? "stays" : "stay"}.` : "";
  const messages = count(data.messages_deleted, "message");
  if (data.requested_by && data.requested_by !== device.user) return `removed ${what}: ${person(data.requested_by)} deleted it for everyone.${later}`;
  if (!asked) return `removed ${what} too.${later}`;
  const whose = data.requested_by ? " for everyone" : "";
  const hidden = isHidden(data) ? " Its rows stay while other members read them." : "";
  const much = hidden ? "" : `: ${messages}`; // of hidden ones not all are counted
  return `deleted ${what}${whose}${much}${took ? ` in ${seconds(took)}` : ""}.${hidden}${later}`;
}

const seconds = (ms) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);
