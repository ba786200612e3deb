// Three devices, a console and a log on one page.

import { conversationPath, persist, request } from "./api.js";
import { confirmAll, confirmDeletion } from "./confirm.js";
import { Console } from "./console.js";
import { Device } from "./device.js";
import { fail, record, tell, toast } from "./log.js";
import { Stored } from "./stored.js";
import { isShared, names, person } from "./words.js";
import { DeviceView } from "./view.js";

const who = [
  { id: "alice-phone", user: "alice", name: "Alice’s phone", kind: "phone" },
  { id: "alice-laptop", user: "alice", name: "Alice’s laptop", kind: "laptop" },
  { id: "bob-phone", user: "bob", name: "Bob’s phone", kind: "phone" },
];

const $ = (id) => document.getElementById(id);

const { presence, shared } = await persist(() => request("GET", "/config.json"));
const devices = who.map((d) => new Device(d, presence));
const siblings = (device) => devices.filter((d) => d.user === device.user && d !== device).map((d) => d.name);

const operator = new Console(devices, {
  onHuge: () => devices.forEach((d) => d.online && d.refresh()),
});

for (const device of devices) {
  const view = new DeviceView(device, {
    confirm: (d, id) => confirmDeletion(d, id, { sync: operator.sync, siblings: siblings(d) }),
    confirmAll: (d) => confirmAll(d, { sync: operator.sync, siblings: siblings(d), shared }),
    onSamples: () => addSamples().catch((err) => fail(err.message)),
  });
  $("devices").append(view.element);
  $("tabs").append(tab(device, view.element));
  device.addEventListener("told", ({ detail }) => {
    tell(device, detail, siblings(device));
    if (detail.kind === "deleted" && detail.data.conversation_id === "group_huge") operator.hugeGone();
  });
  device.addEventListener("trouble", ({ detail }) => trouble(device, detail));
  device.setOnline(true);
}
operator.start().catch((err) => fail(err.message));
if (shared) new Stored(devices).start();

function trouble(device, err) {
  record(device.name, "failed", `had an error: ${err.message}`);
  toast(`${device.name}: ${err.message}`, "failed");
}

// tab brings a device into view, where the page is too narrow for all.
function tab(device, element) {
  const link = document.createElement("a");
  link.href = `#${device.id}`;
  link.textContent = device.name;
  link.onclick = (event) => {
    event.preventDefault();
    element.scrollIntoView({ behavior: "smooth", block: "nearest", inline: "start" });
    element.focus({ preventScroll: true });
  };
  const mark = ([{ isIntersecting }]) => link.setAttribute("aria-current", isIntersecting);
  new IntersectionObserver(mark, { root: $("devices"), threshold: 0.6 }).observe(element);
  return link;
}

// addSamples posts some messages, each as its sender, and gives the shared group a history.
async function addSamples() {
  const tokens = new Map();
  for (const { from, to, text, older } of await request("GET", "/samples.json")) {
    if (isShared(to) && !shared) continue;
    if (!tokens.has(from)) {
      const { token } = await request("POST", "/v1/demo/token", { body: { user: from, device: `${from}-samples` } });
      tokens.set(from, token);
    }
    const [path, body] = older ? ["/v1/demo/history", { group: to, messages: older }] : [conversationPath(to, "/messages"), { text }];
    await request("POST", path, { token: tokens.get(from), body });
  }
  record("You", "quiet", `added messages of ${names([...tokens.keys()].map(person))}.`);
}
