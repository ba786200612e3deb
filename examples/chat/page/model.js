// What a device keeps of its user's conversations. Plain data and functions over
// it: no page, no network.

const seenLimit = 500; // event ids that are remembered
const boundaryLimit = 5000; // conversations of which a boundary is remembered

// newCopy is that of a device that has just been set up.
export function newCopy() {
  return {
    cursor: null, // of the last stored event that was handled
    epoch: null, // which stream the cursor belongs to
    stale: true, // the list is to be loaded anew, and not from a standby that lags
    conversations: dictionary(), // by id: {id, messages (ascending by seq), unread, loaded (the newest seq of the list when they were)}
    removed: dictionary(), // by conversation id: a deletion left nothing at or below
    hidden: dictionary(), // by conversation id: at or below, the history is kept and not listed
    seen: [], // ids of handled events, oldest first
  };
}

// dictionary is an object without properties of its prototype: an id may be
// "constructor" or "__proto__".
export const dictionary = (entries = {}) => Object.assign(Object.create(null), entries);

// lastSeq is the newest seq that the copy has of a conversation, 0 if none.
export function lastSeq(copy, id) {
  return copy.conversations[id]?.messages.at(-1)?.seq ?? 0;
}

// removedThrough is the boundary of a conversation's deletions, 0 if there was none.
export const removedThrough = (copy, id) => copy.removed[id] ?? 0;

// addMessages adds what isn't there yet. What a deletion has removed stays
// removed: an answer may have been on its way meanwhile, or come from a standby
// that lags. It returns those that were new.
export function addMessages(copy, id, messages) {
  const boundary = removedThrough(copy, id);
  const known = new Set(copy.conversations[id]?.messages.map((m) => m.seq));
  const fresh = messages.filter((m) => m.seq > boundary && !known.has(m.seq));
  if (fresh.length === 0) return fresh;
  const conversation = (copy.conversations[id] ??= { id, messages: [], unread: 0, loaded: 0 });
  conversation.messages = [...conversation.messages, ...fresh].sort((a, b) => a.seq - b.seq);
  return fresh;
}

// see notes an event's id, and reports whether it is new.
export function see(copy, eventID) {
  if (copy.seen.includes(eventID)) return false;
  copy.seen = [...copy.seen, eventID].slice(-seenLimit);
  return true;
}

// applyDeleted handles an event: what is at or below through_seq goes, and nothing
// else. It returns how many messages went, or null for an event that was handled
// before.
export function applyDeleted(copy, eventID, data) {
  if (!see(copy, eventID)) return null;
  const { conversation_id: id, through_seq: through } = data;
  if (data.history_kept) {
    raise(copy.hidden, id, through);
    return 0;
  }
  raise(copy.removed, id, through);
  const conversation = copy.conversations[id];
  if (!conversation) return 0;
  const left = conversation.messages.filter((m) => m.seq > through);
  const gone = conversation.messages.length - left.length;
  conversation.messages = left;
  conversation.unread = Math.min(conversation.unread, left.length);
  if (left.length === 0) delete copy.conversations[id];
  return gone;
}

// raise remembers a boundary, which never moves back. If there are too many it forgets
// the one that was raised the longest ago: seqs are never used twice, so only a
// standby that lags could still return its conversation.
function raise(boundaries, id, through) {
  const boundary = Math.max(boundaries[id] ?? 0, through);
  delete boundaries[id]; // so that it becomes the newest
  boundaries[id] = boundary;
  const ids = Object.keys(boundaries);
  if (ids.length > boundaryLimit) delete boundaries[ids[0]];
}

// listed is what the device shows, newest first.
export function listed(copy) {
  return Object.values(copy.conversations)
    .filter((c) => lastSeq(copy, c.id) > (copy.hidden[c.id] ?? 0))
    .sort((a, b) => lastSent(b) - lastSent(a) || lastSeq(copy, b.id) - lastSeq(copy, a.id));
}

// lastSent orders conversations: a shared group's seqs are counted apart from the user's own.
const lastSent = (c) => Date.parse(c.messages.at(-1).sent_at);

// replaceAll makes the copy what the server has: conversations is a list of {id,
// unread, messages, last}, and later what has come since they were asked for.
export function replaceAll(copy, conversations, later) {
  copy.conversations = dictionary();
  for (const { id, unread, messages, last } of conversations) {
    const added = addMessages(copy, id, messages).length;
    if (added > 0) Object.assign(copy.conversations[id], { unread: stillUnread(unread, messages, added), loaded: last });
  }
  for (const { id, message } of later) addMessages(copy, id, [message]);
  copy.stale = false;
}

// stillUnread is how many of a server's unread messages there are, where some of
// those that it sent had been removed already.
export const stillUnread = (unread, messages, left) => (left < messages.length ? Math.min(unread, left) : unread);

// share is how far a deletion has come, within 0 and 1: null while nothing is
// known. first is the oldest seq there was.
export function share({ first, through, purged }) {
  if (purged === null || through < first) return null;
  return Math.min(1, Math.max(0, (purged - first + 1) / (through - first + 1)));
}
