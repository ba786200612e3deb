// The operator's side: the app's switch, the devices' network, the huge group, a
// deletion that fails.

import { persist } from "./api.js";
import { clone, part, setText } from "./dom.js";
import { fail, record } from "./log.js";
import { listed } from "./model.js";
import { count, isShared, number } from "./words.js";

const hugeSize = 2_000_000;
const askEvery = 400; // ms

const $ = (id) => document.getElementById(id);

// Console acts through the first device that is online. onHuge is called when the
// huge group is there.
export class Console {
  #devices;
  #onHuge;

  constructor(devices, { onHuge }) {
    this.#devices = devices;
    this.#onHuge = onHuge;
    $("sync").onchange = () => this.#setSync($("sync").checked);
    $("huge").onclick = () => this.#makeHuge();
    $("fail").onclick = () => this.#fail();
    for (const device of devices) $("network").append(networkSwitch(device));
  }

  get sync() {
    return $("sync").checked;
  }

  // start reads the switch, and goes on with a group that is being made.
  async start() {
    const { multi_client_sync: sync } = await persist(() => this.#ask("GET", "/v1/settings"));
    this.#drawSync(sync);
    $("sync").disabled = false;
    const { state } = await this.#ask("GET", "/v1/demo/huge");
    if (state === "running") this.#watchHuge();
  }

  #ask(method, path, body) {
    const device = this.#devices.find((d) => d.connection === "online") ?? this.#devices[0];
    return device.ask(method, path, { body });
  }

  async #setSync(on) {
    try {
      await this.#ask("PUT", "/v1/settings", { multi_client_sync: on });
      this.#drawSync(on);
      record("You", "quiet", `switched “Delete on all devices” ${on ? "on" : "off"}.`);
    } catch (err) {
      this.#drawSync(!on);
      fail(err.message);
    }
  }

  #drawSync(on) {
    $("sync").checked = on;
    setText(part($("console"), "sync-hint"), on ? "Multi-client sync is on: the user’s other devices remove it." : "Multi-client sync is off: the user’s other devices keep it.");
  }

  async #makeHuge() {
    try {
      await this.#alice().ask("POST", "/v1/demo/huge", { body: { messages: hugeSize } });
    } catch (err) {
      fail(err.message);
      return;
    }
    this.#watchHuge();
  }

  // #alice is a device of the user who gets the huge group.
  #alice() {
    const hers = this.#devices.filter((d) => d.user === this.#devices[0].user);
    return hers.find((d) => d.online) ?? hers[0];
  }

  async #watchHuge() {
    const button = $("huge");
    const bar = $("huge-bar");
    const hint = part($("console"), "huge-hint");
    button.disabled = true;
    bar.hidden = false;
    try {
      await this.#followHuge(bar, hint);
      setText(hint, "It is there: delete it on one of Alice’s devices.");
      record("You", "quiet", `made a group of ${count(hugeSize, "message")}.`);
      this.#onHuge();
    } catch (err) {
      this.hugeGone();
      fail(err.message);
    } finally {
      bar.hidden = true;
      button.disabled = false;
    }
  }

  // hugeGone is for when there is none any more.
  hugeGone() {
    setText(part($("console"), "huge-hint"), `${number(hugeSize)} messages for Alice to delete.`);
  }

  async #followHuge(bar, hint) {
    for (;;) {
      const { state, done = 0, messages = hugeSize, message } = await persist(() => this.#alice().ask("GET", "/v1/demo/huge"));
      if (state === "failed") throw new Error(message || "The group could not be made.");
      if (state !== "running") return;
      bar.firstElementChild.style.inlineSize = `${(100 * done) / messages}%`;
      bar.setAttribute("aria-valuenow", Math.round((100 * done) / messages));
      setText(hint, `${number(done)} of ${number(messages)} messages`);
      await new Promise((resolve) => setTimeout(resolve, askEvery));
    }
  }

  async #fail() {
    const device = this.#devices[0];
    const conversation = listed(device.copy).find((c) => !isShared(c.id));
    if (!conversation) {
      fail("There is nothing left to delete on this device.");
      return;
    }
    try {
      await device.fail(conversation.id);
    } catch (err) {
      fail(err.message);
    }
  }
}

function networkSwitch(device) {
  const label = clone("t-network");
  const input = label.querySelector("input");
  label.querySelector("span").textContent = device.name;
  input.dataset.network = device.id;
  input.onchange = () => device.setOnline(input.checked);
  device.addEventListener("change", () => (input.checked = device.online));
  input.checked = device.online;
  return label;
}
