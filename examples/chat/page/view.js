// How a device looks.

import { calm, clone, part, setList, setText } from "./dom.js";
import { progressOf } from "./device.js";
import { listed } from "./model.js";
import { count, isGroup, number, person, title, waitingFor, when, why } from "./words.js";

const hues = 6; // of avatars; style.css has them

// DeviceView shows a device in an element of its own. confirm(device, id) is
// called when the user presses delete, confirmAll(device) for all conversations;
// onSamples where there is nothing to show.
export class DeviceView {
  #device;
  #confirm;
  #due = false;
  #shown = null; // the conversation that is drawn
  #noEarlier = new Set(); // conversations whose beginning is there

  constructor(device, { confirm, confirmAll, onSamples }) {
    this.#device = device;
    this.#confirm = confirm;
    this.element = clone("t-device");
    this.element.id = device.id;
    this.element.classList.add(device.kind);
    this.element.dataset.device = device.id;
    this.#part("name").textContent = device.name;
    this.#part("name").id = `${device.id}-name`;
    this.element.setAttribute("aria-labelledby", `${device.id}-name`);
    this.#part("list").setAttribute("aria-label", `Chats on ${device.name}`);
    this.#part("rows").setAttribute("aria-label", `Chats on ${device.name}`);
    this.#part("samples").onclick = onSamples;
    this.#part("all").setAttribute("aria-label", `Delete all chats on ${device.name}`);
    this.#part("all").onclick = () => confirmAll(device);
    this.#wireThread();
    device.addEventListener("change", () => this.#later());
    this.#draw();
  }

  #part(name) {
    return part(this.element, name);
  }

  #ask(id) {
    if (!this.#device.deletion(id)) this.#confirm(this.#device, id);
  }

  #wireThread() {
    const device = this.#device;
    this.#part("back").onclick = () => {
      const id = device.openID;
      device.open(null);
      this.#draw();
      this.#rowOf(id)?.querySelector("button").focus();
    };
    this.#part("thread-delete").onclick = () => this.#ask(device.openID);
    this.#part("earlier").onclick = () => this.#loadEarlier();
    this.#part("input").setAttribute("aria-label", `Message from ${device.name}`);
    this.#part("composer").onsubmit = (event) => {
      event.preventDefault();
      this.#send();
    };
  }

  async #loadEarlier() {
    const id = this.#device.openID;
    try {
      if (!(await this.#device.loadEarlier(id))) this.#noEarlier.add(id);
    } catch (err) {
      this.#device.dispatchEvent(new CustomEvent("trouble", { detail: err }));
    }
    this.#draw();
  }

  async #send() {
    const input = this.#part("input");
    const text = input.value.trim();
    if (!text) return;
    input.value = "";
    try {
      await this.#device.send(this.#device.openID, text);
    } catch (err) {
      input.value ||= text; // nothing is lost
      this.#device.dispatchEvent(new CustomEvent("trouble", { detail: err }));
    }
  }

  // #later draws once for all that changes at once.
  #later() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.#draw();
    });
  }

  #draw() {
    this.#drawStatus();
    this.#drawList();
    this.#drawThread();
  }

  #drawStatus() {
    const { connection, retryIn } = this.#device;
    this.element.dataset.connection = connection;
    setText(this.#part("status"), {
      online: "Online", offline: "Offline", connecting: "Connecting…", waiting: `Trying again in ${retryIn} s`,
    }[connection]);
  }

  #drawList() {
    const device = this.#device;
    const conversations = listed(device.copy);
    setList(this.#part("rows"), conversations, {
      key: (c) => c.id,
      create: (c) => this.#createRow(c.id),
      update: (row, c) => this.#drawRow(row, c),
    });
    const empty = conversations.length === 0;
    this.#part("empty").hidden = !empty;
    setText(this.#part("empty-text"), device.loaded || device.connection === "offline" ? "No chats" : "Loading…");
    this.#part("all").hidden = empty || device.connection !== "online";
    this.#part("samples").hidden = !device.loaded || device.connection !== "online";
  }

  #rowOf(id) {
    return [...this.#part("rows").children].find((row) => row.dataset.conversation === id && !row.inert);
  }

  #createRow(id) {
    const row = clone("t-row");
    row.dataset.conversation = id;
    drawAvatar(part(row, "avatar"), id);
    part(row, "title").textContent = title(id);
    part(row, "open").onclick = () => {
      this.#device.open(id);
      this.#draw();
      this.#part("input").focus({ preventScroll: true });
    };
    const remove = part(row, "delete");
    remove.setAttribute("aria-label", `Delete ${title(id)} on ${this.#device.name}`);
    remove.title = "Delete";
    remove.onclick = () => this.#ask(id);
    part(row, "bar").setAttribute("aria-label", `Deleting ${title(id)}`);
    return row;
  }

  #drawRow(row, c) {
    const device = this.#device;
    const deletion = device.deletion(c.id);
    const failure = device.failure(c.id);
    const last = c.messages.at(-1);
    row.dataset.state = deletion ? "deleting" : failure ? "failed" : "idle";
    row.classList.toggle("current", c.id === device.openID);
    part(row, "open").setAttribute("aria-current", c.id === device.openID);
    setText(part(row, "time"), when(last.sent_at));
    setText(part(row, "preview"), preview(device, c, last, deletion, failure));
    const unread = part(row, "unread");
    unread.hidden = c.unread === 0 || Boolean(deletion);
    setText(unread, c.unread > 99 ? "99+" : String(c.unread));
    unread.setAttribute("aria-label", `${c.unread} unread`);
    part(row, "delete").setAttribute("aria-disabled", Boolean(deletion)); // disabled, it would lose the focus
    drawBar(part(row, "bar"), deletion);
  }

  #drawThread() {
    const device = this.#device;
    const c = device.copy.conversations[device.openID];
    this.#part("screen").dataset.pane = c ? "thread" : "list";
    const thread = this.#part("thread");
    if (!c && thread.contains(document.activeElement)) this.#part("rows").focus();
    thread.hidden = !c;
    this.#part("nothing").hidden = Boolean(c);
    if (!c) {
      this.#shown = null;
      return;
    }
    const opened = this.#shown !== c.id;
    this.#shown = c.id;
    const atEnd = opened || isAtEnd(this.#part("scroll"));
    if (opened) this.#openThread(c.id);
    this.#drawNotice(c.id);
    this.#drawMessages(c, atEnd);
    this.#drawComposer();
  }

  #openThread(id) {
    this.#part("messages").replaceChildren();
    this.#part("input").value = "";
    setText(this.#part("thread-title"), title(id));
    drawAvatar(this.#part("thread-avatar"), id);
    this.#part("scroll").setAttribute("aria-label", `Messages with ${title(id)}`);
    const remove = this.#part("thread-delete");
    remove.setAttribute("aria-label", `Delete ${title(id)} on ${this.#device.name}`);
    remove.title = "Delete";
  }

  #drawMessages(c, atEnd) {
    const scroll = this.#part("scroll");
    const hidden = this.#device.copy.hidden[c.id] ?? 0;
    setList(this.#part("messages"), c.messages.filter((m) => m.seq > hidden), {
      key: (m) => m.seq,
      create: (m) => createMessage(m, this.#device.user, isGroup(c.id)),
      update: () => {},
    });
    this.#part("earlier").hidden = c.messages.length < 50 || this.#noEarlier.has(c.id);
    this.#part("earlier").disabled = !this.#device.online;
    if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  }

  #drawNotice(id) {
    const notice = this.#part("notice");
    const deletion = this.#device.deletion(id);
    const failure = this.#device.failure(id);
    const state = deletion ? "deleting" : failure ? "failed" : "";
    this.#part("thread-delete").setAttribute("aria-disabled", Boolean(deletion));
    notice.hidden = !state;
    if (notice.dataset.state !== state || notice.dataset.of !== id) {
      notice.dataset.state = state;
      notice.dataset.of = id;
      notice.replaceChildren(...(deletion ? deletingNotice() : failure ? this.#failedNotice(id, failure) : []));
    }
    if (!deletion) return;
    setText(notice.querySelector("p"), deletingText(this.#device, deletion));
    drawBar(notice.querySelector(".bar"), deletion);
  }

  #failedNotice(id, failure) {
    const text = document.createElement("p");
    const strong = document.createElement("strong");
    strong.textContent = "Not deleted. ";
    text.append(strong, why(failure.reason), " ", reasonCode(failure.reason));
    text.title = failure.message;
    const again = button("Try again", () => this.#ask(id));
    const dismiss = button("Dismiss", () => this.#device.dismiss(id));
    return [text, again, dismiss];
  }

  #drawComposer() {
    const online = this.#device.connection !== "offline";
    this.#part("input").disabled = !online;
    this.#part("send").disabled = !online;
    this.#part("input").placeholder = online ? "Message" : "Offline";
  }
}

const isAtEnd = (scroll) => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;

function reasonCode(reason) {
  const code = document.createElement("code");
  code.textContent = reason;
  return code;
}

function button(text, onclick) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "button";
  element.textContent = text;
  element.onclick = onclick;
  return element;
}

function preview(device, c, last, deletion, failure) {
  if (deletion) return deletingShort(device, deletion);
  if (failure) return `Not deleted. ${why(failure.reason)}`;
  const who = last.sender_id === device.user ? "You: " : isGroup(c.id) ? `${person(last.sender_id)}: ` : "";
  return who + last.text;
}

function deletingText(device, p) {
  if (!device.online) return "Waiting until it is online";
  if (p.waitingFor) return `Waiting for ${waitingFor(p.waitingFor)}`;
  if (p.deleted > 0) return `Deleting… ${count(p.deleted, "message")} so far`;
  return "Deleting…";
}

// deletingShort is for the list.
function deletingShort(device, p) {
  const done = progressOf(p);
  return p.deleted > 0 && done !== null && device.online && !p.waitingFor ? `Deleting… ${Math.floor(100 * done)} %` : deletingText(device, p);
}

function deletingNotice() {
  const text = document.createElement("p");
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.setAttribute("aria-hidden", "true"); // the list's says the same
  bar.append(document.createElement("i"));
  return [text, bar];
}

// drawBar shows how far a deletion has come: moving to and fro while nobody knows.
// Progress comes once a second, so that the bar glides on to where it will be by
// then.
function drawBar(bar, deletion) {
  bar.hidden = !deletion;
  if (!deletion) {
    delete bar.dataset.done;
    return;
  }
  const done = progressOf(deletion);
  bar.classList.toggle("unknown", done === null);
  if (done === null) {
    bar.removeAttribute("aria-valuenow");
    return;
  }
  const before = Number(bar.dataset.done ?? done);
  const ahead = calm.matches ? 0 : Math.max(0, done - before);
  if (done !== before || bar.dataset.done === undefined) bar.firstElementChild.style.inlineSize = `${100 * Math.min(0.98, done + ahead)}%`;
  bar.dataset.done = done;
  bar.setAttribute("aria-valuenow", Math.round(100 * done));
  bar.setAttribute("aria-valuetext", `${number(deletion.deleted)} messages deleted`);
}

function drawAvatar(element, id) {
  let hash = 0;
  for (const letter of id) hash = (hash * 31 + letter.codePointAt(0)) % 997;
  element.textContent = title(id).charAt(0);
  element.className = element.className.replace(/ ?hue-\d|$/, ` hue-${hash % hues}`);
  element.classList.toggle("group", isGroup(id));
}

function createMessage(m, user, inGroup) {
  const element = clone("t-message");
  element.classList.toggle("mine", m.sender_id === user);
  part(element, "text").textContent = m.text;
  part(element, "sender").textContent = inGroup && m.sender_id !== user ? person(m.sender_id) : "";
  part(element, "time").textContent = when(m.sent_at);
  part(element, "time").dateTime = m.sent_at;
  return element;
}
