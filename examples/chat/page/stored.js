// How many rows the database has of the shared group, and who reads them.

import { setText } from "./dom.js";
import { number, person, title } from "./words.js";
import { soundRows } from "./shape.js";

const group = "shared_camping"; // of samples.json
const askEvery = 1000; // ms
const askSoon = 80; // ms, while the rows become fewer
const soon = 3000; // ms since a device has asked to delete the group, or the rows became fewer

const $ = (id) => document.getElementById(id);

// Stored asks through the first device that is online, while somebody can see the page.
export class Stored {
  #devices;
  #rows = 0; // as shown
  #before = 0; // the rows that there were before they became fewer
  #quickUntil = 0; // a time
  #wake = () => {};

  constructor(devices) {
    this.#devices = devices;
    setText($("stored-name"), title(group));
    $("stored").hidden = false;
    for (const device of devices) {
      device.addEventListener("change", () => device.deletion(group) && this.#hurry());
    }
  }

  async start() {
    for (;;) {
      const device = this.#devices.find((d) => d.connection === "online");
      if (device && !document.hidden) {
        // It is asked again soon: what fails is shown elsewhere.
        const rows = await device.ask("GET", `/v1/demo/rows?group=${group}`).then(soundRows, () => null);
        if (rows) this.#draw(rows);
      }
      await this.#pause();
    }
  }

  // #hurry asks more often for a while.
  #hurry() {
    this.#quickUntil = Date.now() + soon;
    this.#wake();
  }

  #pause() {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Date.now() < this.#quickUntil ? askSoon : askEvery);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #draw({ rows, members }) {
    this.#drawErased(rows);
    setText($("stored-rows"), number(rows));
    setText($("stored-noun"), rows === 1 ? "row in the database" : "rows in the database");
    const items = members.map(({ user, reads }) => {
      const item = document.createElement("li");
      item.classList.toggle("none", reads === 0);
      item.textContent = `${person(user)} reads ${reads === 0 ? "none" : number(reads)}`;
      return item;
    });
    if (items.map((i) => i.textContent).join() !== [...$("stored-members").children].map((i) => i.textContent).join()) {
      $("stored-members").replaceChildren(...items);
    }
  }

  // #drawErased says how many rows have left the database, as soon as some have.
  #drawErased(rows) {
    if (rows < this.#rows) {
      this.#before ||= this.#rows;
      this.#quickUntil = Date.now() + soon;
      setText($("stored-erased"), `${number(this.#before - rows)} erased`);
      $("stored-erased").hidden = false;
    } else if (rows > this.#rows) {
      this.#before = 0;
      $("stored-erased").hidden = true;
    }
    this.#rows = rows;
  }
}
