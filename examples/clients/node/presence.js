// Hands a user's stored events to the devices that are connected here, as a presence service does:
//
//   node presence.js APP USER CURSOR_FILE DEVICE...
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connectFromEnv, token } from "./nats.js";

const [app, user, cursorFile, ...devices] = process.argv.slice(2);
if (devices.length === 0) {
  console.error("presence: expected APP USER CURSOR_FILE DEVICE [DEVICE ...]");
  process.exit(1);
}
const stream = "CONVERSATION_EVENTS";
const subject = `conversation.*.${token(app)}.${token(user)}`; // a service for all users has one consumer, of conversation.*.<app>.*

// The cursor is the sequence of the last event that was handed over. A real service keeps one for each device.
// 0 hands over all that the stream keeps.
let cursor = existsSync(cursorFile) ? Number(readFileSync(cursorFile, "utf8")) : 0;

// expired reports whether events after the cursor may be gone.
async function expired(jsm, { config, state }) {
  if (cursor === 0) return false;
  if (cursor + 1 < state.first_seq || cursor > state.last_seq) return true;
  for (const [full, count] of Object.entries(state.subjects ?? {})) {
    if (count < config.max_msgs_per_subject || config.max_msgs_per_subject <= 0) continue;
    const oldest = await jsm.direct.getMessage(stream, { seq: 1, next_by_subj: full });
    if (oldest.seq > cursor + 1) return true;
  }
  return false;
}

// receivers chooses the devices that an event is for.
function receivers(type, event) {
  const everyone = event.scope === "everyone" && event.requested_by !== user; // another member asked, on no device of ours
  if (type === "conversation.deleted" || type === "conversation.all_deleted") {
    if (event.multi_client_sync || everyone) return devices;
  } else if (type !== "conversation.delete_failed") {
    return []; // erased asks nothing of a device; ignore types of newer workers
  }
  return devices.filter((device) => device === event.origin_device_id);
}

// parsed is the event's body, empty for what isn't one.
function parsed(msg) {
  try {
    return Object(msg.json());
  } catch {
    return {}; // nobody's: it would stop each start, too
  }
}

async function follow(nc) {
  const jsm = await jetstreamManager(nc, { checkAPI: false }); // a check that takes one more permission
  const info = await jsm.streams.info(stream, { subjects_filter: subject });
  if (await expired(jsm, info)) {
    cursor = info.state.last_seq;
    for (const device of devices) console.log(`${device} reload`); // its list, and follow from here
  }
  // An ordered consumer, which the client makes again where it left off: what was missed first, then live.
  const consumer = await jetstream(nc).consumers.get(stream, { filter_subjects: subject, opt_start_seq: cursor + 1 });
  const seen = new Set();
  for await (const msg of await consumer.consume()) {
    const [id, type] = [msg.headers?.get("ce-id"), msg.headers?.get("ce-type")];
    if (!seen.has(id)) {
      // The text as it came: JSON.parse rounds a through_seq above 2^53, which a device in JavaScript reads as a BigInt.
      for (const device of receivers(type, parsed(msg))) console.log(`${device} ${type} ${msg.string()}`);
    }
    seen.add(id); // a repeated event has the same; a real service forgets the oldest
    writeFileSync(cursorFile, String(msg.seq)); // after handing over: what is lost in between comes again
  }
  throw (await nc.closed()) ?? new Error("the connection is closed"); // for good: the loop ends with it alone
}

let nc;
try {
  nc = await connectFromEnv();
  await follow(nc);
} catch (err) {
  console.error(`presence: ${stream}: ${err.message}`);
  process.exitCode = 1;
} finally {
  await nc?.close();
}
