// The chat: everybody who has this page open can join.
import {Panel, element} from "./panel.js";

export class ChatPanel extends Panel {
  constructor() {
    super("chat");
    this.newest = 0;  // number of the event that the list of people is of
    this.byHand = false;
    this.part("join-form").onsubmit = (event) => { event.preventDefault(); this.joinOrLeave(); };
    this.part("send-form").onsubmit = (event) => { event.preventDefault(); this.submit(event.target.elements.text); };
    this.showState();
    this.showPeople([]);
  }

  get nameField() { return this.part("join-form").elements.name; }

  query() { return {name: this.nameField.value}; }

  showState() {
    super.showState();
    this.part("toggle").textContent = this.connection.wanted ? "Leave" : "Join";
    this.nameField.readOnly = this.connection.wanted;
  }

  joinOrLeave() {
    if (this.connection.wanted) {
      this.close(1000, "left");
    } else if (this.connection.state === "closed") {
      this.byHand = true;
      this.connection.open();
    }
  }

  opened() {
    this.newest = 0;
    // The focus follows whoever has just pressed Join, and nobody whose connection has come back by itself.
    if (this.byHand) this.part("send-form").elements.text.focus();
    this.byHand = false;
  }

  closed() { this.showPeople([]); }

  submit(field) {
    if (!this.connection.isOpen) {
      this.line("error", "You are not in the chat: press Join first.");
    } else if (field.value.trim() !== "") {
      this.connection.send(field.value);
      field.value = "";
    }
  }

  received(data) {
    const event = JSON.parse(data);
    if (event.type === "welcome") this.nameField.value = event.name;
    else if (event.type === "message") {
      this.line(event.name === this.nameField.value ? "sent" : "received", event.text, time(), event.name);
    } else this.line("info", `${event.name} ${event.type}`, time());
    // Events of several people at once may cross on their way; the newest list of people counts.
    if (event.people && event.number > this.newest) {
      this.newest = event.number;
      this.showPeople(event.people);
    }
  }

  showPeople(names) {
    const items = names.map((name) => element("li", name === this.nameField.value ? "me" : "", name));
    this.part("people").replaceChildren(...(items.length > 0 ? items : [element("li", "nobody", "You are not in the chat.")]));
  }
}

function time() { return new Date().toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"}); }
