// What the devices were told: in the log, and for some seconds in the head of the page.

import { clone } from "./dom.js";
import { count, number, person, timeNow, title, why } from "./words.js";

const logLimit = 200;
const toastLife = 6_000; // ms
const toastLimit = 1; // in the head of the page, so that it covers no device

const $ = (id) => document.getElementById(id);

// record writes a line about a device; kind is for its looks.
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

// tell writes down what the presence service said to a device. siblings are the
// names of the user's other devices.
export function tell(device, detail, siblings) {
  const { kind, data } = detail;
  switch (kind) {
    case "deleted":
      return tellDeleted(device, detail, siblings);
    case "repeated":
      return record(device.name, "quiet", `${title(data.conversation_id)}: an event that it has seen. Nothing changes.`);
    case "erased":
      return record(device.name, "deleted", `${title(data.conversation_id)}: erased from the database. All members had deleted it.`);
    case "all":
      return record(device.name, "deleted", `All chats: ${count(data.conversations, "chat")}, ${count(data.messages_deleted, "message")}${data.failed ? `, ${number(data.failed)} failed` : ""}.`);
    case "failed": {
      const what = data.conversation_id ? title(data.conversation_id) : "A deletion";
      record(device.name, "failed", `${what} was not deleted: ${data.reason} (${data.message}).`);
      return toast(`${what} was not deleted. ${why(data.reason)}`, "failed");
    }
    case "resync":
      return record(device.name, "quiet", "It was away for too long: it loads its list anew.");
  }
}

function tellDeleted(device, { data, took }, siblings) {
  const what = title(data.conversation_id);
  const who = data.requested_by && data.requested_by !== device.user ? ` for everyone by ${person(data.requested_by)}` : data.requested_by ? " for everyone" : "";
  const how = data.history_kept ? "taken off the list, history kept" : `deleted${who} through #${number(data.through_seq)}`;
  const much = data.history_kept ? "" : `, ${count(data.messages_deleted, "message")}`;
  const asked = data.origin_device_id === device.id;
  const still = data.erased === false && !who ? " Other members still read it." : "";
  record(device.name, "deleted", `${what}: ${how}${much}${asked && took ? ` in ${seconds(took)}` : ""}.${still}`);
  if (asked && !data.multi_client_sync) {
    for (const name of siblings) record(name, "quiet", `${what}: not told, sync is off.`);
  }
  if (!asked) return;
  if (data.history_kept) toast(`${what} is off the list.`);
  else toast(still ? `${what} is gone for ${person(device.user)} alone.` : `${what} is gone: ${count(data.messages_deleted, "message")}.`);
}

const seconds = (ms) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);
