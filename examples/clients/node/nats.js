// What both programs need.
import { connect } from "@nats-io/transport-node";

// token writes an id as one token of a subject. encodeURIComponent leaves seven characters that Lethe escapes.
export const token = (id) =>
  encodeURIComponent(id).replace(/[.!~*'()]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());

// connectFromEnv connects to NATS_URL, whose user and password the client takes apart from the address. Each user of deploy/nats
// has an inbox prefix of its own.
export function connectFromEnv() {
  const url = new URL(process.env.NATS_URL ?? "nats://localhost:4222");
  return connect({
    servers: url.host,
    user: decodeURIComponent(url.username) || undefined,
    pass: decodeURIComponent(url.password) || undefined,
    inboxPrefix: process.env.NATS_INBOX_PREFIX,
    maxReconnectAttempts: -1, // for good
  });
}
