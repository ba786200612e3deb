// Words and numbers for people.

const whole = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hour12: false });
const clockSeconds = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });

export const number = (n) => whole.format(n);
export const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
export const timeNow = () => clockSeconds.format(new Date());

// when is the time of a message: the day, if it wasn't today.
export function when(sentAt) {
  const date = new Date(sentAt);
  if (Number.isNaN(date.getTime())) return "";
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : day.format(date);
}

const capital = (s) => s.charAt(0).toUpperCase() + s.slice(1).replaceAll("_", " ");

export const person = (user) => capital(user);
export const isShared = (id) => id.startsWith("shared_"); // all members read the same rows
export const isGroup = (id) => id.startsWith("group_") || isShared(id);

// title is what a conversation is called: its id without the prefix.
export function title(id) {
  return capital(id.replace(/^(c2c|group|shared)_/, "")) || id;
}

const reasons = {
  invalid_command: "The request was malformed.",
  app_mismatch: "The request was sent for another app.",
  command_id_reused: "Its id had been used for another deletion.",
  incompatible_id: "The database can’t hold a chat of this id.",
  unsupported_scope: "The database can’t do this.",
  boundary_required: "The last message to delete isn’t known any more.",
  attempts_exhausted: "The database refused it too often.",
};

// why explains the reason of a failure.
export const why = (reason) => reasons[reason] ?? "The server gave up.";

const reasonsToWait = {
  "the gateway": "the server",
  lock: "somebody who uses these messages",
  paused: "an operator to resume it",
};

// waitingFor explains what a deletion waits for: mostly that the database is less busy.
export const waitingFor = (reason) => reasonsToWait[reason] ?? "a less busy database";

const most = 60; // characters of a quoted message

// quote shortens a message to name it by.
export const quote = (text) => `“${text.length > most ? `${text.slice(0, most).replace(/\s+\S*$/, "")}…` : text}”`;

// names joins names as a sentence does: Alice, Bob and Carol.
export const names = (all) => new Intl.ListFormat("en-GB").format(all);
