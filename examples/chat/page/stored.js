// How many rows the database has of the shared group, and who reads them.

import { setText } from "./dom.js";
import { number, person, title } from "./words.js";
import { soundRows } from "./shape.js";

const group = "shared_camping"; // of samples.json
const askEvery = 400; // ms

const $ = (id) => document.getElementById(id);

// Stored asks through the first device that is online, while somebody can see the page.
export class Stored {
  #devices;

  constructor(devices) {
    this.#devices = devices;
    setText($("stored-name"), title(group));
    $("stored").hidden = false;
  }

  async start() {
    for (;;) {
      const device = this.#devices.find((d) => d.connection === "online");
      if (device && !document.hidden) {
        // It is asked again soon: what fails is shown elsewhere.
        const rows = await device.ask("GET", `/v1/demo/rows?group=${group}`).then(soundRows, () => null);
        if (rows) this.#draw(rows);
      }
      await new Promise((resolve) => setTimeout(resolve, askEvery));
    }
  }

  #draw({ rows, members }) {
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
}
