// Publishes one deletion, as a gateway does when a user asks for it:
//
//   node gateway.js APP USER DEVICE CONVERSATION THROUGH_SEQ [COMMAND_ID]
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { jetstream, JetStreamApiError } from "@nats-io/jetstream";
import { connectFromEnv, token } from "./nats.js";

const [app, user, device, conversation, throughSeq, commandID = randomUUID()] = process.argv.slice(2);
if (throughSeq === undefined) {
  console.error("gateway: expected APP USER DEVICE CONVERSATION THROUGH_SEQ [COMMAND_ID]");
  process.exit(1);
}

const command = {
  command_id: commandID, // a real gateway keeps it with the user's request
  app_id: app,
  user_id: user,
  device_id: device,
  // The greatest seq that the device showed, as digits: it may exceed 2^53, where a number is rounded.
  conversations: [{ id: conversation, through_seq: BigInt(throughSeq).toString() }],
  requested_at: new Date().toISOString(),
};
// JSON has digits without quotes there. Quotes inside an id are escaped, so that only the field matches.
const body = JSON.stringify(command).replace(/"through_seq":"(\d+)"/g, '"through_seq":$1');

// publish stores the command and returns the stream's acknowledgement. Where none comes it publishes again: with the same
// command_id it is still one deletion. It sets no msgID, since all apps share the stream's window for duplicates.
async function publish(nc, subject) {
  for (let wait = 1000; ; wait *= 2) {
    try {
      return await jetstream(nc).publish(subject, body, { timeout: 5000 });
    } catch (err) {
      if (err.name === "JetStreamNotEnabled") throw new Error(`no stream takes ${subject}: run "worker setup"`);
      // 10077: a limit, mostly of the app's unfinished commands; workers will finish some. Any other refusal is final.
      const final = err instanceof JetStreamApiError && err.code !== 10077;
      if (final || wait > 8000) throw err;
      console.error(`gateway: ${err.message}: publishing ${commandID} again in ${wait / 1000} s`);
      await sleep(wait);
    }
  }
}

let nc;
try {
  nc = await connectFromEnv();
  const ack = await publish(nc, `conversation.delete.${token(app)}`);
  console.log(`stored ${commandID} in ${ack.stream} at ${ack.seq}`);
} catch (err) {
  console.error(`gateway: ${err.message}`);
  process.exitCode = 1;
} finally {
  await nc?.close();
}
