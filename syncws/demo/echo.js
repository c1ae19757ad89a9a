// The echo console: text, bytes, and what else a server can be asked for.
import {Panel, hex} from "./panel.js";

const FRAGMENTS = "/fragments one message in five frames";

export class EchoPanel extends Panel {
  constructor() {
    super("echo");
    this.sentAt = [];  // answers come back in order, so the oldest time belongs to the next message
    this.asked = false;  // whether the server has been asked to close
    this.reopening = false;
    this.part("address").textContent = this.connection.url.href;
    this.part("toggle").onclick = () => this.toggle();
    this.part("send-form").onsubmit = (event) => { event.preventDefault(); this.submit(event.target.elements); };
    this.part("ping").onclick = () => this.sendText("/ping");
    this.part("fragments").onclick = () => this.sendText(FRAGMENTS);
    this.part("compress").onchange = () => this.reopen();
    this.part("close-form").onsubmit = (event) => { event.preventDefault(); this.closeHere(event.target.elements); };
    this.part("server-close").onclick = () => this.closeThere(this.part("close-form").elements);
    this.connection.open();
  }

  query() { return this.part("compress").checked ? {compress: "1"} : {}; }

  showState() {
    super.showState();
    this.part("toggle").textContent = ["open", "connecting", "waiting"].includes(this.connection.state) ? "Disconnect" : "Connect";
  }

  opened() {
    this.sentAt = [];
    this.line("info", "connected");
  }

  showClose(event) {
    super.showClose(event);
    this.line(event.wasClean ? "info" : "error", `closed with ${event.code}${event.reason ? `: ${event.reason}` : ""}`);
    if (this.asked) this.connection.expectClose();
    this.asked = false;
    if (this.reopening) {
      this.reopening = false;
      this.connection.open();
    }
  }

  toggle() {
    if (this.connection.state === "closed") this.connection.open();
    else if (this.connection.wanted) this.close(1000);
  }

  // Whether frames are compressed is agreed upon in the handshake, so it takes a new one.
  reopen() {
    if (!this.connection.isOpen) return;  // the next handshake asks
    this.reopening = true;
    this.close(1000, "another handshake");
  }

  send(data, shown, note = "") {
    this.sentAt.push(performance.now());
    this.asked = typeof data === "string" && data.startsWith("/close ");
    this.connection.send(data);
    this.line("sent", shown, note);
  }

  sendText(text) {
    if (this.isUsable()) this.send(text, text);
  }

  isUsable() {
    if (!this.connection.isOpen) this.line("error", "Not connected: press Connect first.");
    return this.connection.isOpen;
  }

  submit(fields) {
    if (!this.isUsable()) return;
    const text = fields.text.value;
    if (fields.kind.value === "binary") {
      const bytes = new TextEncoder().encode(text);
      this.send(bytes, hex(bytes), `${bytes.length} B`);
    } else {
      this.send(text, text);
    }
    fields.text.value = "";
    fields.text.focus();
  }

  closeHere(fields) {
    if (this.isUsable()) this.close(Number(fields.code.value), fields.reason.value);
  }

  closeThere(fields) {
    if (fields.code.reportValidity()) this.sendText(`/close ${fields.code.value} ${fields.reason.value}`.trim());
  }

  received(data) {
    this.asked = false;  // whatever it was that the server was asked, it has answered
    const started = this.sentAt.shift();
    const took = started === undefined ? "" : `${(performance.now() - started).toFixed(1)} ms`;
    if (typeof data === "string") this.line("received", data, took);
    else this.line("received", hex(new Uint8Array(data)), `${data.byteLength} B, ${took}`);
  }
}
