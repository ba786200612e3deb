// A device's WebSocket to the presence service: it comes back by itself, with the
// cursor of the last event that was handled.

import { readFrame } from "./shape.js";

const leastPause = 500; // ms before the second try
const mostPause = 8_000;
const pingEvery = 20_000;
const pongWithin = 8_000;

// Close codes of the presence service.
const tokenExpired = 4401;
const busy = 4429;

// Link calls
//   address()       for {url, token}; may be async and may throw
//   onFrame(frame)  for each frame that is well-formed
//   onState(state, seconds)  connecting, online, waiting (for so many seconds), offline
//   onRefused()     when the connection was not accepted, of which a browser doesn't
//                   say why, or the token has expired
export class Link {
  #handlers;
  #socket = null;
  #tries = 0;
  #timer = 0;
  #ping = 0;
  #pong = 0;
  #wanted = false;
  #attempt = 0; // what belongs to an earlier one is ignored

  constructor(handlers) {
    this.#handlers = handlers;
  }

  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#tries = 0;
    this.#connect();
  }

  // stop closes the connection for good: as a device that loses its network.
  stop() {
    this.#wanted = false;
    this.#drop();
    this.#handlers.onState("offline", 0);
  }

  // send drops the frame without a connection: on the next hello the device says
  // all that matters again.
  send(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  async #connect() {
    const attempt = ++this.#attempt;
    this.#handlers.onState("connecting", 0);
    let socket;
    try {
      const { url, token } = await this.#handlers.address();
      if (attempt !== this.#attempt) return;
      // The token isn't in the URL, which logs keep, but in the one header that a page can set.
      socket = this.#socket = new WebSocket(url, ["lethe.chat", `token.${token}`]);
    } catch {
      if (attempt === this.#attempt) this.#again();
      return;
    }
    let accepted = false;
    socket.onopen = () => (accepted = true);
    socket.onmessage = ({ data }) => attempt === this.#attempt && this.#receive(readFrame(data));
    socket.onclose = ({ code }) => attempt === this.#attempt && this.#closed(code, accepted);
  }

  #receive(frame) {
    switch (frame?.type) {
      case undefined:
        return; // of a newer service, or malformed
      case "pong":
        clearTimeout(this.#pong);
        return;
      case "hello":
        this.#tries = 0;
        this.#beat();
        this.#handlers.onState("online", 0);
    }
    this.#handlers.onFrame(frame);
  }

  // #beat notices a connection that has died without a word.
  #beat() {
    clearInterval(this.#ping);
    this.#ping = setInterval(() => {
      this.send({ type: "ping" });
      clearTimeout(this.#pong);
      this.#pong = setTimeout(() => this.#again(), pongWithin);
    }, pingEvery);
  }

  #closed(code, accepted) {
    if (code === tokenExpired || !accepted) this.#handlers.onRefused();
    if (code === busy) this.#tries = 10; // the maximum wait
    this.#again();
  }

  // #again waits longer after each failure, and not as long as others: all of them
  // lose the same server at once.
  #again() {
    this.#drop();
    const pause = Math.min(mostPause, leastPause * 2 ** this.#tries++) * (0.5 + Math.random() / 2);
    this.#handlers.onState("waiting", Math.ceil(pause / 1000));
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  #drop() {
    this.#attempt++;
    clearTimeout(this.#timer);
    clearTimeout(this.#pong);
    clearInterval(this.#ping);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
