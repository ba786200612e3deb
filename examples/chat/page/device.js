// One client of one user: its token, its connection, its copy, and the deletions
// that it has asked for. The page shows several side by side; they share nothing.

import { ApiError, conversationPath, newKey, persist, request } from "./api.js";
import { Link } from "./link.js";
import { addMessages, applyDeleted, dictionary, lastSeq, newCopy, removedThrough, replaceAll, see, share, stillUnread } from "./model.js";
import { isShared } from "./words.js";
import { isState, soundConversations, soundMessages } from "./shape.js";

const pageSize = 50; // messages that are loaded at once
const endedLimit = 100; // finished commands that are remembered
const nobody = "c2c_nobody"; // a conversation that isn't there
const maxLag = 30_000; // ms, of the standby that the gateway may read from
const askAgain = 2; // seconds, where the gateway doesn't say

// Device tells about itself by events:
//   change  something to show has changed
//   told    the presence service has sent something; detail says what
//   trouble a request failed; detail is the error
export class Device extends EventTarget {
  #presence;
  #link;
  #network = new AbortController(); // aborted when the device goes offline
  #tokenAsked = null;
  #later = []; // messages that came since the list was asked for
  #settle = 0; // the timer of #refreshLater
  #awaited = null; // called when the next command ends
  #unplaced = new Map(); // failures of whole commands that came before the answer to the request
  #state;

  constructor({ id, user, name, kind }, presence) {
    super();
    Object.assign(this, { id, user, name, kind });
    this.#presence = presence;
    this.#state = restore(id);
    this.online = false; // as its user wants it
    this.connection = "offline"; // as it is
    this.retryIn = 0; // seconds, while the connection waits
    this.openID = null; // the conversation that is shown
    this.loaded = false;
    this.owned = new Set(); // shared groups that the user may delete for everyone
    this.#link = new Link({
      address: () => this.#address(),
      onFrame: (frame) => this.#receive(frame),
      onState: (state, seconds) => this.#connected(state, seconds),
      // Whether it was for the token the gateway says, and #ask then forgets it.
      onRefused: () => this.#ask("GET", "/v1/settings").catch(() => {}),
    });
  }

  get copy() {
    return this.#state.copy;
  }

  // deletion is the one under way for a conversation, if any.
  deletion(id) {
    return Object.values(this.#state.pending).findLast((p) => p.conversation === id);
  }

  // failure is why the last deletion of a conversation failed, if it did.
  failure(id) {
    return this.#state.failures[id];
  }

  setOnline(online) {
    if (online === this.online) return;
    this.online = online;
    if (online) {
      this.#network = new AbortController();
      this.#link.start();
    } else {
      this.#network.abort();
      this.#link.stop();
    }
  }

  open(id) {
    this.openID = id;
    const conversation = this.copy.conversations[id];
    if (conversation) conversation.unread = 0;
    this.#changed();
  }

  dismiss(id) {
    delete this.#state.failures[id];
    this.#changed();
  }

  async send(id, text) {
    const { seq } = await this.#ask("POST", conversationPath(id, "/messages"), { body: { text } });
    addMessages(this.copy, id, [{ seq, sender_id: this.user, sent_at: new Date().toISOString(), text }]);
    this.#changed();
  }

  // loadEarlier pages back; it resolves to whether there may be more.
  async loadEarlier(id) {
    const first = this.copy.conversations[id]?.messages[0]?.seq;
    const messages = soundMessages(await this.#ask("GET", conversationPath(id, `/messages?before=${first}&limit=${pageSize}`)));
    addMessages(this.copy, id, messages);
    this.#changed();
    return messages.length === pageSize;
  }

  // remove asks for a deletion up to what the device shows. Offline, it is sent
  // once the device is back: with the boundary of now.
  remove(id, how = {}) {
    const p = newDeletion(id, lastSeq(this.copy, id), how);
    this.#state.pending[p.key] = p;
    delete this.#state.failures[id];
    this.#changed();
    return this.#submit(p.key);
  }

  // removeAll asks for the deletion of all that the user has now, whatever the device shows.
  removeAll() {
    return this.#ask("POST", "/v1/conversations:delete", { body: { all_conversations: true }, headers: { "Idempotency-Key": newKey() } });
  }

  // fail makes a deletion that fails, as a gateway with a fault would: under the id
  // of one that is finished. The ledger refuses it.
  async fail(id) {
    const commandID = await this.#finished(nobody);
    const p = newDeletion(id, lastSeq(this.copy, id));
    p.commandID = commandID;
    p.faulty = true; // no request of ours made it
    this.#state.pending[p.key] = p; // before it is asked: the event may be faster than the answer
    this.#changed();
    try {
      await this.#ask("POST", "/v1/demo/reuse", { body: { command_id: commandID, conversation_id: id } });
    } catch (err) {
      delete this.#state.pending[p.key];
      this.#changed();
      throw err;
    }
  }

  // #finished deletes a conversation that isn't there, and resolves to the
  // command's id once it is in the ledger.
  async #finished(id) {
    const { command_id: commandID } = await this.#ask("POST", conversationPath(id, ":delete"), { body: { through_seq: 0 } });
    while (!this.#state.ended.includes(commandID)) await new Promise((resolve) => (this.#awaited = resolve));
    return commandID;
  }

  // ask is a request of the device's user.
  ask(method, path, options) {
    return this.#ask(method, path, options);
  }

  // refresh adds what the server has and the device hasn't, but for what a deletion
  // has removed: the server may read from a standby that lags. A stale copy is
  // replaced by what the server has now. It asks again for as long as the device is
  // online, and tells of what doesn't pass.
  async refresh() {
    const network = this.#network;
    try {
      await persist(() => this.#load(), () => this.#network === network && this.online);
    } catch (err) {
      this.#trouble(err);
    }
  }

  // #refreshLater loads once more what a standby may not have had yet: messages that
  // were sent shortly before the device connected, of which nobody tells it live.
  #refreshLater() {
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => this.online && this.refresh(), maxLag * (1 + Math.random()));
  }

  async #load() {
    const later = (this.#later = []);
    const { stale } = this.copy;
    // Of what was deleted before the copy began the device knows no boundary.
    const fresh = stale ? "fresh=true" : "fresh=false";
    const conversations = soundConversations(await this.#ask("GET", `/v1/conversations?${fresh}`));
    this.owned = new Set(conversations.filter((c) => c.owner).map((c) => c.id));
    // Not what it has, which may have come live, after messages that it hasn't got.
    const known = (id) => Math.max(removedThrough(this.copy, id), stale ? 0 : (this.copy.conversations[id]?.loaded ?? 0));
    const wanted = conversations.filter((c) => c.last_seq > known(c.id));
    const loaded = await Promise.all(wanted.map(async ({ id, unread_count: unread, last_seq: last }) => {
      const messages = soundMessages(await this.#ask("GET", conversationPath(id, `/messages?limit=${pageSize}&${fresh}`)));
      return { id, unread, messages, last };
    }));
    if (later !== this.#later) return; // another has begun since, and has all of it
    if (this.copy.stale && !stale) return this.#load(); // it became so meanwhile
    if (stale) replaceAll(this.copy, loaded, later);
    else for (const c of loaded) this.#merge(c);
    this.loaded = true;
    this.#changed();
  }

  #merge({ id, unread, messages, last }) {
    const isNew = !this.copy.conversations[id];
    const added = addMessages(this.copy, id, messages);
    const conversation = this.copy.conversations[id];
    if (!conversation) return;
    conversation.loaded = Math.max(conversation.loaded, last);
    if (added.length === 0 || id === this.openID) return;
    const fromOthers = added.filter((m) => m.sender_id !== this.user).length;
    conversation.unread = isNew ? stillUnread(unread, messages, added.length) : conversation.unread + fromOthers;
  }

  // --- the connection

  async #address() {
    const url = new URL(this.#presence || "/v1/connect", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const token = await this.#token();
    if (this.copy.cursor !== null) url.searchParams.set("cursor", this.copy.cursor);
    if (this.copy.epoch) url.searchParams.set("epoch", this.copy.epoch);
    return { url: url.href, token };
  }

  #connected(state, seconds) {
    this.connection = state;
    this.retryIn = seconds;
    this.#changed();
  }

  #receive(frame) {
    const { copy } = this;
    switch (frame.type) {
      case "hello":
        copy.cursor ??= frame.cursor;
        copy.epoch = frame.epoch ?? null;
        this.#welcome();
        break;
      case "conversation.deleted":
        this.#deleted(frame);
        copy.cursor = frame.cursor;
        break;
      case "conversation.erased":
        if (see(copy, frame.id)) this.#tell({ kind: "erased", data: frame.data });
        copy.cursor = frame.cursor;
        break;
      case "conversation.all_deleted":
        if (see(copy, frame.id)) this.#tell({ kind: "all", data: frame.data });
        copy.cursor = frame.cursor;
        break;
      case "conversation.delete_failed":
        this.#failed(frame);
        copy.cursor = frame.cursor;
        break;
      case "conversation.deleting":
        this.#progress(frame.data);
        break;
      case "message":
        this.#message(frame.data);
        break;
      case "cursor":
        copy.cursor = frame.cursor;
        break;
      case "resync":
        if (!frame.lost) break; // the next hello has it add what it has missed
        copy.cursor = null; // the next hello has it
        copy.stale = true;
        this.#askAgain();
        this.#tell({ kind: "resync" });
        break;
    }
    this.#changed();
  }

  // #welcome is what a device does once it is connected.
  #welcome() {
    for (const p of Object.values(this.#state.pending)) {
      if (p.commandID) this.#link.send({ type: "sent", command_id: p.commandID });
      else this.#submit(p.key);
    }
    this.refresh();
    this.#refreshLater();
  }

  #message({ conversation_id: id, seq, sender_id, sent_at, text }) {
    if (isShared(id) && !this.copy.conversations[id]) this.refresh(); // whose it is says the list
    const message = { seq, sender_id, sent_at, text };
    this.#later.push({ id, message });
    const [added] = addMessages(this.copy, id, [message]);
    const conversation = this.copy.conversations[id];
    if (added && message.sender_id !== this.user && id !== this.openID) conversation.unread++;
  }

  #deleted({ id: eventID, data }) {
    const id = data.conversation_id;
    const asked = this.#end(data.command_id);
    if (id === nobody) return;
    if (applyDeleted(this.copy, eventID, data) === null) {
      this.#tell({ kind: "repeated", data });
      return;
    }
    delete this.#state.failures[id];
    const kept = lastSeq(this.copy, id) > data.through_seq;
    if (id === this.openID && !kept) this.openID = null;
    if (!data.conversation_removed && !data.history_kept && !kept) {
      this.refresh(); // newer ones that it hasn't got
    }
    const left = this.copy.conversations[id]?.messages.length ?? 0;
    this.#tell({ kind: "deleted", data, left, took: asked && Date.now() - asked.since });
  }

  #failed({ data }) {
    const asked = this.#end(data.command_id);
    const id = data.conversation_id ?? asked?.conversation;
    const failure = { reason: data.reason, message: data.message };
    if (id) this.#state.failures[id] = failure;
    else this.#unplaced.set(data.command_id, failure);
    this.#tell({ kind: "failed", data: { ...data, conversation_id: id } });
  }

  #progress(data) {
    for (const p of Object.values(this.#state.pending)) {
      if (p.commandID !== data.command_id) continue;
      Object.assign(p, { purged: data.purged_through_seq, deleted: data.messages_deleted, waitingFor: data.waiting_for ?? null });
    }
  }

  // --- deletions

  // #submit publishes a deletion through the gateway: again while it can't take
  // it, always under the same key, so that it is one deletion.
  async #submit(key) {
    const p = this.#state.pending[key];
    if (!p || p.asking || p.commandID || !this.online) return;
    p.asking = true;
    try {
      p.first ??= await this.#firstSeq(p.conversation);
      const { command_id: commandID } = await this.#ask("POST", conversationPath(p.conversation, ":delete"), {
        body: { through_seq: p.through, keep_history: p.keepHistory, scope: p.everyone ? "everyone" : "self" },
        headers: { "Idempotency-Key": p.key },
      });
      this.#accepted(p, commandID);
    } catch (err) {
      this.#notAccepted(p, err);
    } finally {
      p.asking = false;
      this.#changed();
    }
  }

  // #askAgain has the next hello repeat the deletions whose events may be lost: under the same key it is the same command,
  // whose event comes again.
  #askAgain() {
    for (const p of Object.values(this.#state.pending)) {
      if (p.faulty) delete this.#state.pending[p.key];
      else p.commandID = null;
    }
  }

  #accepted(p, commandID) {
    if (this.#state.ended.includes(commandID)) {
      delete this.#state.pending[p.key]; // the event was faster than the answer
      const failure = this.#unplaced.get(commandID);
      if (failure) this.#state.failures[p.conversation] = failure;
      this.#unplaced.delete(commandID);
      return;
    }
    p.commandID = commandID;
    this.#link.send({ type: "sent", command_id: commandID });
  }

  #notAccepted(p, err) {
    if (!this.online || err.name === "AbortError") return; // it is sent on the next hello
    if (err.passing) {
      p.waitingFor = "the gateway";
      setTimeout(() => this.#submit(p.key), 1000 * (err.retryAfter || askAgain));
      return;
    }
    delete this.#state.pending[p.key];
    this.#state.failures[p.conversation] = { reason: err.code, message: err.message };
    this.#trouble(err);
  }

  // #firstSeq is what the progress bar begins at.
  async #firstSeq(id) {
    const [first] = soundMessages(await this.#ask("GET", conversationPath(id, "/messages?after=0&limit=1")));
    return first?.seq ?? 0;
  }

  // #end forgets a command that has ended, and returns what was known of it.
  #end(commandID) {
    const state = this.#state;
    state.ended = [...state.ended.filter((id) => id !== commandID), commandID].slice(-endedLimit);
    this.#awaited?.();
    this.#awaited = null;
    const p = Object.values(state.pending).find((pending) => pending.commandID === commandID);
    if (p) delete state.pending[p.key];
    return p;
  }

  // --- requests and the token

  async #ask(method, path, options = {}) {
    if (!this.online) throw new ApiError(0, "offline", `${this.name} is offline.`, 0);
    const { signal } = this.#network;
    const token = await this.#token();
    try {
      return await request(method, path, { ...options, signal, token });
    } catch (err) {
      if (err.status !== 401) throw err;
      this.#refused(token);
      return request(method, path, { ...options, signal, token: await this.#token() });
    }
  }

  #token() {
    if (this.#state.token) return Promise.resolve(this.#state.token);
    this.#tokenAsked ??= request("POST", "/v1/demo/token", { body: { user: this.user, device: this.id } })
      .then(({ token }) => (this.#state.token = token))
      .finally(() => (this.#tokenAsked = null));
    return this.#tokenAsked;
  }

  // #refused forgets a token. One that hasn't run out is of another server, and so
  // is the copy.
  #refused(token) {
    if (token !== this.#state.token) return; // forgotten already
    if (!expired(token)) this.#state = fresh();
    this.#state.token = null;
    this.#changed();
  }

  // --- telling

  #tell(detail) {
    this.dispatchEvent(new CustomEvent("told", { detail }));
  }

  #trouble(err) {
    if (err.name !== "AbortError" && this.online) this.dispatchEvent(new CustomEvent("trouble", { detail: err }));
  }

  #changed() {
    save(this.id, this.#state);
    this.dispatchEvent(new Event("change"));
  }
}

// progressOf is how far a deletion has come, or null.
export const progressOf = (p) => share({ first: p.first ?? 0, through: p.through, purged: p.purged });

// newDeletion is one that nobody has been asked for yet.
const newDeletion = (conversation, through, { keepHistory = false, everyone = false } = {}) => ({
  key: newKey(), conversation, through, keepHistory, everyone, since: Date.now(),
  commandID: null, asking: false, first: null, purged: null, deleted: 0, waitingFor: null,
});

// expired reads the time in a token's claims.
function expired(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[0].replaceAll("-", "+").replaceAll("_", "/")));
    return claims.exp * 1000 <= Date.now();
  } catch {
    return false;
  }
}

// The state of a device outlives a reload of the page, as that of a device would.

const fresh = () => ({ token: null, copy: newCopy(), pending: dictionary(), failures: dictionary(), ended: [] });
const storageKey = (id) => `lethe-device-${id}`;

function restore(id) {
  try {
    const state = JSON.parse(sessionStorage.getItem(storageKey(id)));
    if (!isState(state)) return fresh();
    for (const part of [state, state.copy]) {
      for (const [name, value] of Object.entries(part)) {
        if (["pending", "failures", "conversations", "removed", "hidden"].includes(name)) part[name] = dictionary(value);
      }
    }
    for (const p of Object.values(state.pending)) p.asking = false;
    return state;
  } catch {
    return fresh();
  }
}

function save(id, state) {
  try {
    sessionStorage.setItem(storageKey(id), JSON.stringify(state));
  } catch {
    // Full or forbidden: the state lives as long as the page.
  }
}
