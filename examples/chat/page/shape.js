// Checks of all input: frames, answers, and the state that a device had before the page
// was reloaded. Only well-formed input is used, so that nothing that a server or another
// program sends can break the page.

const text = (most) => (v) => typeof v === "string" && v !== "" && v.length <= most;
const anyText = (most) => (v) => v === "" || text(most)(v);
// The example's seqs and counts are exact in JavaScript; api/README.md says of others.
const count = (v) => Number.isSafeInteger(v) && v >= 0;
const bool = (v) => typeof v === "boolean";
const time = (v) => typeof v === "string" && !Number.isNaN(Date.parse(v));
const or = (...shapes) => (v) => shapes.some((shape) => shape(v));
const none = (v) => v === undefined || v === null;
const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);
const object = (fields) => (v) => isObject(v) && Object.entries(fields).every(([name, shape]) => shape(v[name]));
const list = (shape) => (v) => Array.isArray(v) && v.every(shape);
const dictionary = (shape) => (v) => isObject(v) && Object.values(v).every(shape);

// The contract's lengths are in bytes: no text of as many characters is shorter.
const id = text(256);
const message = object({ seq: count, sender_id: text(128), sent_at: time, text: anyText(8192) });

const frames = {
  hello: object({ cursor: count, epoch: or(none, text(64)) }),
  cursor: object({ cursor: count }),
  resync: object({ lost: or(none, bool) }),
  pong: isObject,
  message: object({ data: (v) => message(v) && id(v.conversation_id) }),
  "conversation.deleted": object({
    cursor: count,
    id,
    data: object({
      command_id: text(128), conversation_id: id, through_seq: count, messages_deleted: count,
      history_kept: bool, conversation_removed: bool, multi_client_sync: bool, origin_device_id: or(none, anyText(128)),
      erased: or(none, bool), requested_by: or(none, text(128)),
    }),
  }),
  "conversation.erased": object({ cursor: count, id, data: object({ command_id: text(128), conversation_id: id, through_seq: count }) }),
  "conversation.all_deleted": object({
    cursor: count,
    id,
    data: object({ command_id: text(128), conversations: count, failed: count, messages_deleted: count }),
  }),
  "conversation.delete_failed": object({
    cursor: count,
    id,
    data: object({
      command_id: or(none, anyText(128)), conversation_id: or(none, anyText(256)), reason: text(64), message: anyText(32768),
    }),
  }),
  "conversation.deleting": object({
    data: object({
      command_id: text(128), conversation_id: id, purged_through_seq: count, messages_deleted: count, waiting_for: or(none, anyText(64)),
    }),
  }),
};

// readFrame is the frame that a text holds, or null: of another type, or malformed.
export function readFrame(data) {
  const frame = parse(data);
  return isObject(frame) && Object.hasOwn(frames, frame.type) && frames[frame.type](frame) ? frame : null;
}

// soundMessages are those of an answer that are messages.
export const soundMessages = (answer) => sound(answer.messages, message);

// soundConversations are those of an answer that are conversations.
export const soundConversations = (answer) => sound(answer.conversations, object({ id, last_seq: count, unread_count: count, owner: or(none, bool) }));

// soundRows is an answer about the rows of a shared group, or null.
const rows = object({ rows: count, members: list(object({ user: text(128), reads: count })) });
export const soundRows = (answer) => (rows(answer) ? answer : null);

const sound = (all, shape) => (Array.isArray(all) ? all.filter(shape) : []);

// isState checks what a device has stored.
export const isState = object({
  token: or(none, (v) => /^[\w-]+\.[\w-]+$/.test(v)),
  copy: object({
    cursor: or(none, count),
    epoch: or(none, text(64)),
    stale: bool,
    conversations: dictionary(object({ id, messages: list(message), unread: count, loaded: count })),
    removed: dictionary(count),
    hidden: dictionary(count),
    seen: list(id),
  }),
  pending: dictionary(object({
    key: text(64), conversation: id, through: count, keepHistory: bool, everyone: or(none, bool), since: count, commandID: or(none, text(128)),
    first: or(none, count), purged: or(none, count), deleted: count, waitingFor: or(none, text(64)),
  })),
  failures: dictionary(object({ reason: text(64), message: anyText(32768) })),
  ended: list(anyText(128)),
});

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}
