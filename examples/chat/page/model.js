// What a device keeps of its user's conversations. Plain data and functions over
// it: no page, no network.

const seenLimit = 500; // event ids that are remembered

// newCopy is that of a device that has just been set up.
export function newCopy() {
  return {
    cursor: null, // of the last stored event that was handled
    epoch: null, // which stream the cursor belongs to
    stale: false, // the list is to be loaded anew
    conversations: {}, // by id: {id, messages (ascending by seq), unread, hiddenThrough}
    floors: {}, // by conversation id: nothing at or below was left by a deletion
    seen: [], // ids of handled events, oldest first
  };
}

// lastSeq is the newest seq that the copy has of a conversation, 0 if none.
export function lastSeq(copy, id) {
  return copy.conversations[id]?.messages.at(-1)?.seq ?? 0;
}

// addMessages adds what isn't there yet. What a deletion has removed stays
// removed: an answer may have been on its way meanwhile. It returns how many were
// new.
export function addMessages(copy, id, messages) {
  const floor = copy.floors[id] ?? 0;
  const known = new Set(copy.conversations[id]?.messages.map((m) => m.seq));
  const fresh = messages.filter((m) => m.seq > floor && !known.has(m.seq));
  if (fresh.length === 0) return 0;
  const conversation = (copy.conversations[id] ??= { id, messages: [], unread: 0, hiddenThrough: 0 });
  conversation.messages = [...conversation.messages, ...fresh].sort((a, b) => a.seq - b.seq);
  return fresh.length;
}

// applyDeleted handles an event: what is at or below through_seq goes, and nothing
// else. It returns how many messages went, or null for an event that was handled
// before.
export function applyDeleted(copy, eventID, data) {
  if (copy.seen.includes(eventID)) return null;
  copy.seen = [...copy.seen, eventID].slice(-seenLimit);
  const { conversation_id: id, through_seq: through } = data;
  const conversation = copy.conversations[id];
  if (data.history_kept) {
    if (conversation) conversation.hiddenThrough = Math.max(conversation.hiddenThrough, through);
    return 0;
  }
  copy.floors[id] = Math.max(copy.floors[id] ?? 0, through);
  if (!conversation) return 0;
  const left = conversation.messages.filter((m) => m.seq > through);
  const gone = conversation.messages.length - left.length;
  conversation.messages = left;
  conversation.unread = Math.min(conversation.unread, left.length);
  if (left.length === 0) delete copy.conversations[id];
  return gone;
}

// listed is what the device shows, newest first.
export function listed(copy) {
  return Object.values(copy.conversations)
    .filter((c) => lastSeq(copy, c.id) > c.hiddenThrough)
    .sort((a, b) => lastSeq(copy, b.id) - lastSeq(copy, a.id));
}

// replaceAll makes the copy what the server has: conversations is a list of {id,
// unread, messages}, and later what has come since they were asked for.
export function replaceAll(copy, conversations, later) {
  copy.conversations = {};
  for (const { id, unread, messages } of conversations) {
    addMessages(copy, id, messages);
    if (copy.conversations[id]) copy.conversations[id].unread = unread;
  }
  for (const { id, message } of later) addMessages(copy, id, [message]);
  copy.stale = false;
}

// share is how far a deletion has come, within 0 and 1: null while nothing is
// known. first is the oldest seq there was.
export function share({ first, through, purged }) {
  if (purged === null || through < first) return null;
  return Math.min(1, Math.max(0, (purged - first + 1) / (through - first + 1)));
}
