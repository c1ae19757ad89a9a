// What the sections of the page have in common: a connection, its state, and a log of what happened.
import {Connection} from "./connection.js";

const MEANINGS = {
  1000: "normal closure", 1001: "going away", 1002: "protocol error", 1003: "unsupported data",
  1005: "the close frame had no code", 1006: "lost without a close frame", 1007: "invalid data",
  1008: "policy violation", 1009: "message too big", 1011: "internal error", 1012: "service restart",
  1013: "try again later",
};
const STATE_NAMES = {waiting: "reconnecting"};
const MARKS = {sent: "→", received: "←", info: "·", error: "!"};
const LINES_KEPT = 300;

export class Panel {
  constructor(name) {
    this.section = document.getElementById(name);
    this.connection = new Connection(name, {
      changed: () => this.showState(),
      opened: () => this.opened(),
      received: (data) => this.received(data),
      closed: (event) => { this.showClose(event); this.closed(); },
      query: () => this.query(),
    });
  }

  part(name) { return this.section.querySelector(`[data-part="${name}"]`); }

  // For subclasses.
  query() { return {}; }
  opened() {}
  closed() {}

  // Controls stay focusable when they cannot be used now, so that the keyboard focus is never lost.
  showState() {
    const state = this.connection.state;
    const shown = this.part("state");
    shown.dataset.state = state;
    shown.textContent = STATE_NAMES[state] ?? state;
    for (const button of this.section.querySelectorAll("[data-needs-open]")) {
      button.setAttribute("aria-disabled", String(!this.connection.isOpen));
    }
  }

  showClose(event) {
    const reason = event.reason ? `, “${event.reason}”` : "";
    const clean = event.wasClean ? "" : "; not a clean close";
    const shown = [element("b", "", event.code), ` (${meaningOf(event.code)})${reason}${clean}.`];
    this.part("last")?.replaceChildren("Last close: ", ...shown);
  }

  // Close from here; the browser throws for a code or reason that a page may not send.
  close(...codeAndReason) {
    try {
      this.connection.close(...codeAndReason);
    } catch (error) {
      this.line("error", error.message);
    }
  }

  line(kind, text, note = "", author = "") {
    const log = this.part("log");
    const following = isAtEnd(log);
    const mark = element("span", "mark", MARKS[kind]);
    mark.setAttribute("aria-hidden", "true");
    const body = element("span", "text");
    if (kind === "sent" || kind === "error") body.append(element("span", "sr", `${kind}: `));
    if (author) body.append(element("b", "", author), " ");
    body.append(text);
    const item = element("p", kind);
    item.append(mark, body, element("span", "note", note));
    log.append(item);
    while (log.children.length > LINES_KEPT) log.firstElementChild.remove();
    if (following) log.scrollTop = log.scrollHeight;
  }
}

export function meaningOf(code) {
  return MEANINGS[code] ?? (code >= 4000 ? "for applications" : "registered or library code");
}

// Whether the last line can be seen, so that the next one should be, too.
export function isAtEnd(list) { return list.scrollHeight - list.scrollTop - list.clientHeight < 40; }

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

export function hex(bytes) {
  const shown = Array.from(bytes.subarray(0, 64), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return bytes.length > 64 ? `${shown} …` : shown;
}
