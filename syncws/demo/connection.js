// A WebSocket that comes back by itself when it is lost, and what the page says about that.

const STATES = ["connecting", "open", "closing", "closed"];
// Milliseconds until the next try: doubled with each that failed, and not the same for everybody whose server restarts.
const FIRST_DELAY = 500;
const LONGEST_DELAY = 15000;
const STABLE_AFTER = 5000;

// The server shows a page's frames to the page that knows its session, and to nobody else.
const session = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export class Connection {
  // `events` has functions: changed(), opened(), received(data), closed(event); and query(), for more of the address.
  constructor(path, events) {
    this.url = new URL(path, location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.name = path;
    this.events = events;
    this.socket = null;
    this.wanted = false;  // whether it is to come back when it is lost
  }

  get state() {
    const state = this.socket === null ? "closed" : STATES[this.socket.readyState];
    return state === "closed" && this.wanted ? "waiting" : state;
  }

  get isOpen() { return this.state === "open"; }

  open() {
    this.wanted = true;
    this.connect();
  }

  connect() {
    const query = new URLSearchParams({session, ...this.events.query?.()});
    const socket = new WebSocket(`${this.url.href}?${query}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.events.changed();
      this.events.opened?.();
      reconnection.opened();
    };
    socket.onmessage = (event) => this.events.received(event.data);
    socket.onclose = (event) => {
      this.events.changed();
      this.events.closed?.(event);
      if (this.socket !== socket) return;  // it has been opened anew already
      if (this.wanted) reconnection.add(this);
      else reconnection.goOn();
    };
    this.events.changed();
  }

  send(data) { this.socket.send(data); }

  // Throws, and changes nothing, for a code or reason that a page may not send.
  close(...codeAndReason) {
    this.socket.close(...codeAndReason);
    this.expectClose();
  }

  // The connection is about to be closed because somebody wanted it: it does not come back by itself.
  expectClose() {
    this.wanted = false;
    reconnection.remove(this);
    this.events.changed();
  }
}

// All connections of the page share one server, so one of them tries, and the others follow when it has come back.
class Reconnection {
  constructor() {
    this.lost = new Set();
    this.failures = 0;
    this.timer = null;
    this.due = 0;
    this.stable = null;
    this.told = false;
    this.banner = document.getElementById("banner");
    document.getElementById("try-now").onclick = () => this.tryNow();
    window.addEventListener("online", () => this.tryNow());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.tryNow(); });
    setInterval(() => this.showCountdown(), 250);
  }

  add(connection) {
    this.lost.delete(connection);
    this.lost.add(connection);  // the last in the row: another one tries next
    clearTimeout(this.stable);
    this.goOn();
    this.tell(true, "The server cannot be reached.", "Connection lost. The page tries again until the server is back.");
  }

  remove(connection) {
    this.lost.delete(connection);
    if (this.lost.size === 0 && this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
      this.hide();
    }
  }

  // Whoever tried last may have been called off meanwhile; then the next one tries.
  goOn() {
    if (this.lost.size > 0 && this.timer === null) this.schedule();
  }

  schedule() {
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.failures) * (0.75 + Math.random() / 2);
    this.due = Date.now() + delay;
    this.timer = setTimeout(() => this.tryNow(), delay);
    this.showCountdown();
  }

  tryNow() {
    if (this.timer === null) return;
    clearTimeout(this.timer);
    this.timer = null;
    this.failures += 1;
    const [first] = this.lost;
    this.lost.delete(first);
    first.connect();
    this.showCountdown();
  }

  opened() {
    for (const connection of this.lost) connection.connect();
    this.lost.clear();
    clearTimeout(this.timer);
    this.timer = null;
    // A server that accepts and closes at once is not back.
    clearTimeout(this.stable);
    this.stable = setTimeout(() => { this.failures = 0; this.hide(); }, STABLE_AFTER);
    if (this.told) this.tell(false, "Connected again.", "Connected again.");
  }

  tell(lost, shown, spoken) {
    this.banner.hidden = false;
    this.banner.classList.toggle("bad", lost);
    document.getElementById("banner-text").textContent = shown;
    document.getElementById("try-now").hidden = !lost;
    if (this.told !== lost) document.getElementById("news").textContent = spoken;
    this.told = lost;
    this.showCountdown();
  }

  hide() {
    this.banner.hidden = true;
    this.told = false;
  }

  showCountdown() {
    const seconds = Math.max(1, Math.ceil((this.due - Date.now()) / 1000));
    const text = this.timer !== null ? `Trying again in ${seconds} s.` : this.told ? "Trying…" : "";
    const shown = document.getElementById("countdown");
    if (shown.textContent !== text) shown.textContent = text;
  }
}

const reconnection = new Reconnection();
