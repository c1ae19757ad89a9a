// The list of all that passed on this page's connections. What is chosen in it is taken apart below: see anatomy.js.
import {anatomy, inOneLine} from "./anatomy.js";
import {Panel, element, isAtEnd} from "./panel.js";

const ROWS_KEPT = 300;
const HELD_AT_MOST = 1000;

export class InspectorPanel extends Panel {
  constructor() {
    super("inspector");
    this.newest = null;  // number of the newest item of this connection
    this.unwanted = new Set();  // endpoints whose frames are hidden
    this.held = null;  // items that came since "Hold" was pressed
    this.chosen = null;
    this.chosenByHand = false;
    this.frames = this.part("frames");
    this.frames.onclick = (event) => {
      const row = event.target.closest("button");
      if (row) this.choose(row, true);
    };
    this.frames.onkeydown = (event) => this.move(event);
    this.part("detail").onkeydown = (event) => { if (event.key === "Escape") this.chosen?.focus(); };
    this.part("clear").onclick = () => this.clear();
    this.part("pause").onclick = () => this.hold(this.held === null);
    this.part("filters").onchange = () => this.filter();
    this.connection.open();
  }

  opened() { this.newest = null; }

  received(data) {
    const item = JSON.parse(data);
    // A server that this page is too slow for leaves out the oldest items that wait.
    const leftOut = this.newest === null ? 0 : item.number - this.newest - 1;
    this.newest = item.number;
    if (leftOut > 0) this.add({kind: "gap", count: leftOut});
    this.add(item);
  }

  add(item) {
    if (this.held !== null) {
      this.held.push(item);
      if (this.held.length > HELD_AT_MOST) this.held.shift();
      this.part("pause").textContent = `Go on (${this.held.length})`;
      return;
    }
    const following = isAtEnd(this.frames);
    const row = rowFor(item);
    row.hidden = this.unwanted.has(item.endpoint);
    this.frames.append(row);
    while (this.frames.children.length > ROWS_KEPT) this.frames.firstElementChild.remove();
    const button = row.querySelector("button");
    if (button) {
      if (!row.hidden && this.frames.querySelector("[tabindex='0']") === null) button.tabIndex = 0;
      // Something to look at from the beginning: how the first connection was opened.
      if (!this.chosenByHand && item.kind === "response" && item.endpoint === "echo") this.choose(button, false);
    }
    if (following) this.frames.scrollTop = this.frames.scrollHeight;
  }

  choose(row, byHand) {
    this.chosenByHand ||= byHand;
    this.chosen?.removeAttribute("aria-current");
    this.chosen = row;
    row.setAttribute("aria-current", "true");
    this.makeTabStop(row);
    const detail = this.part("detail");
    detail.replaceChildren(...anatomy(row.parentElement.item));
    detail.scrollTop = 0;
    // For the keyboard and screen readers, and on a small screen, where it lies below; Escape leads back.
    if (byHand) detail.focus({preventScroll: matchMedia("(min-width: 64rem)").matches});
  }

  // One of the rows can be reached with Tab, the others from there with the arrow keys.
  makeTabStop(row) {
    for (const other of this.frames.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    row.tabIndex = 0;
  }

  move(event) {
    const rows = Array.from(this.frames.querySelectorAll("li:not([hidden]) button"));
    const index = rows.indexOf(event.target);
    const to = {ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: rows.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const row = rows[to];
    if (row) {
      this.makeTabStop(row);
      row.focus();
    }
  }

  hold(on) {
    const button = this.part("pause");
    button.setAttribute("aria-pressed", String(on));
    button.textContent = on ? "Go on (0)" : "Hold";
    const items = this.held ?? [];
    this.held = on ? [] : null;
    for (const item of items) this.add(item);
  }

  clear() {
    this.frames.replaceChildren();
    this.held &&= [];
  }

  filter() {
    const boxes = Array.from(this.part("filters").querySelectorAll("input"));
    this.unwanted = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    for (const row of this.frames.children) row.hidden = row.item && this.unwanted.has(row.item.endpoint);
    // What Tab leads to must be one of those that can be seen.
    const shown = Array.from(this.frames.querySelectorAll("li:not([hidden]) button"));
    if (shown.length > 0 && !shown.some((button) => button.tabIndex === 0)) this.makeTabStop(shown.at(-1));
    this.frames.scrollTop = this.frames.scrollHeight;
  }
}

function rowFor(item) {
  const row = element("li", item.endpoint ?? "");
  if (item.kind === "gap") {
    row.append(element("p", "gap", `${item.count} left out: this page read too slowly`));
    return row;
  }
  const {name, text, size} = inOneLine(item);
  const button = element("button", `frame ${item.kind} ${item.sender}`);
  button.type = "button";
  button.tabIndex = -1;
  const sender = element("span", "way");
  sender.append(element("span", "sr", item.sender === "client" ? "from the client," : "from the server,"));
  button.append(
    element("span", "time", item.time.toFixed(2)), sender, element("span", "endpoint", item.endpoint),
    element("span", `name ${name}`, name), element("span", "text", text), element("span", "size", size),
  );
  row.append(button);
  row.item = item;
  return row;
}
