// Takes one item of the inspector apart: the bits of a frame, or the fields of a handshake.
import {element, meaningOf} from "./panel.js";

const SHOWN_BYTES = 16;  // of a payload, one column for each
const RFC = "https://www.rfc-editor.org/rfc/rfc";

// The item as its row in the list shows it.
export function inOneLine(item) {
  switch (item.kind) {
    case "frame": return {name: item.name, text: preview(item), size: bytes(item.length)};
    case "request": return {name: "HTTP", text: withoutSession(item.line), size: ""};
    case "response": return {name: "HTTP", text: item.line.replace("HTTP/1.1 ", ""), size: ""};
    case "problem": return {name: "error", text: item.message, size: ""};
    default: return {name: "end", text: "nothing more from this side", size: ""};
  }
}

function preview(frame) {
  if (frame.close_code !== null) return `${frame.close_code} ${frame.close_reason ?? ""}`;
  if (frame.text !== null) return frame.text;
  const shown = frame.payload.match(/../g)?.slice(0, 64) ?? [];
  // What a ping carries is bytes, but often readable ones.
  const readable = frame.opcode > 8 && shown.every((pair) => parseInt(pair, 16) >= 32 && parseInt(pair, 16) < 127);
  return readable ? shown.map((pair) => String.fromCharCode(parseInt(pair, 16))).join("") : shown.join(" ");
}

// The session is a secret of this page, and too long for a line.
function withoutSession(line) { return line.replace(/session=[0-9a-f]+&?/, "").replace(/[?&]? HTTP\/1\.1$/, ""); }

function bytes(count) { return `${count} B`; }

function spaced(hex) { return hex.replace(/(..)(?=.)/g, "$1 "); }

// What the pane below the list shows: elements.
export function anatomy(item) {
  const parts = {frame: frameParts, request: handshakeParts, response: handshakeParts, problem: problemParts}[item.kind];
  return [title(item), ...(parts ? parts(item) : [element("p", "", "This side has ended its half of the TCP connection.")])];
}

function title(item) {
  const what = {
    frame: () => `${item.fin ? "" : "first or middle part: "}${item.name} frame, ${bytes(item.length)}`,
    request: () => "Opening handshake: the request",
    response: () => "Opening handshake: the response",
    problem: () => "A broken rule",
    end: () => "The end",
  }[item.kind]();
  const heading = element("h3", "", what);
  const way = item.sender === "client" ? "this page → server" : "server → this page";
  const place = element("p", "place", `${item.endpoint}, ${way}, after ${item.time.toFixed(3)} s `);
  if (item.section) place.append("· ", sectionLink(item.section));
  const head = element("div", "detail-head");
  head.append(heading, place);
  return head;
}

// "RFC 6455, 5.2" as a link to that section, in short for the narrow columns; what is no such name stays as it is.
function sectionLink(section, short = false) {
  const found = /^RFC (\d+), ([\d.]+)$/.exec(section ?? "");
  if (!found) return document.createTextNode(section ?? "");
  const link = element("a", "section", short ? `§ ${found[2]}` : section);
  if (short) link.setAttribute("aria-label", `RFC ${found[1]}, § ${found[2]}`);
  link.title = `RFC ${found[1]}, section ${found[2]}`;
  link.href = `${RFC}${found[1]}#section-${found[2]}`;
  link.rel = "noreferrer";
  link.target = "_blank";
  return link;
}

// Frames.

function frameParts(frame) {
  const made = [bitStrip(frame.parts), partsTable(frame.parts)];
  if (frame.length > 0) made.push(...payloadParts(frame));
  made.push(code("Whole frame", spaced(frame.hex.slice(0, 256)) + (frame.hex.length > 256 ? " …" : "")));
  return made;
}

// The head of the frame, bit for bit. The table below it says the same in words.
function bitStrip(parts) {
  const strip = element("div", "bits");
  strip.setAttribute("aria-hidden", "true");
  for (const part of parts.filter((one) => one.name !== "payload data")) {
    const cell = element("div", `bit-group ${className(part.name)}`);
    const digits = element("span", "digits");
    // A masking key is no number, so it is shown as bytes.
    const shown = part.bits ? part.bits.match(/[01]{1,8}/g) : pairs(part.value);
    for (const bits of shown) digits.append(element("span", "", bits), " ");
    cell.append(digits, element("span", "label", part.name));
    strip.append(cell);
  }
  return strip;
}

function className(name) { return `part-${name.toLowerCase().replace(/ /g, "-").replace(/\d$/, "")}`; }

function partsTable(parts) {
  const rows = parts.filter((part) => part.name !== "payload data").map((part) => {
    const name = element("th", className(part.name), part.name);
    name.scope = "row";
    const value = element("td");
    value.append(element("code", "", part.value));
    const section = element("td");
    section.append(sectionLink(part.section, true));
    return [name, value, element("td", "", part.meaning), section];
  });
  return table("What the bits say", ["Part", "Value", "Meaning", "RFC"], rows, "parts");
}

function payloadParts(frame) {
  const made = [element("h4", "", frame.compressed ? "Payload, compressed" : "Payload")];
  if (frame.masked) {
    const which = frame.length > SHOWN_BYTES ? `The first ${SHOWN_BYTES} bytes: on` : "On";
    made.push(element("p", "place", `${which} the wire XOR masking key = payload. The key repeats.`), unmaskingTable(frame));
  } else {
    made.push(code("Bytes", spaced(frame.payload)));
  }
  if (frame.text !== null) made.push(code(frame.compressed ? "Text, inflated" : "Text", frame.text));
  if (frame.close_code !== null) {
    const reason = frame.close_reason ? `, with the reason “${frame.close_reason}”` : "";
    made.push(element("p", "", `The first two bytes are the close code: ${frame.close_code}, ${meaningOf(frame.close_code)}${reason}.`));
  }
  if (frame.cut) made.push(element("p", "hint", "Longer than what is shown here."));
  return made;
}

function unmaskingTable(frame) {
  const onWire = pairs(frame.payload_masked);
  const plain = pairs(frame.payload);
  const key = pairs(frame.masking_key);
  const columns = onWire.map((_, index) => index);
  const line = (name, cell, kind) => {
    const head = element("th", kind, name);
    head.scope = "row";
    return [head, ...columns.map((index) => element("td", kind, cell(index)))];
  };
  const rows = [
    line("on the wire", (index) => onWire[index], "part-payload-data"),
    line("masking key", (index) => key[index % 4], "part-masking-key"),
    line("payload", (index) => plain[index], "result"),
  ];
  if (!frame.compressed) rows.push(line("as ASCII", (index) => printable(plain[index]), "ascii"));
  return table("Unmasking, byte by byte", null, rows, "xor");
}

function pairs(hex) { return (hex ?? "").match(/../g)?.slice(0, SHOWN_BYTES) ?? []; }

function printable(pair) {
  const value = parseInt(pair, 16);
  return value > 32 && value < 127 ? String.fromCharCode(value) : value === 32 ? "␣" : "·";
}

// Handshakes.

function handshakeParts(item) {
  const rows = item.fields.map((field) => {
    const name = element("th", "", field.name);
    name.scope = "row";
    const value = element("td");
    value.append(element("code", "", field.value));
    const note = element("td", "", field.note ? `${field.note} ` : "");
    if (field.section) note.append(sectionLink(field.section, true));
    return [name, value, note];
  });
  const made = [code("First line", item.line)];
  if (item.accept) made.push(...acceptParts(item.accept));
  made.push(table("Header fields", ["Field", "Value", "What for"], rows, "fields"));
  return made;
}

// How the server shows that it understood: RFC 6455, 4.2.2.
function acceptParts(accept) {
  const steps = element("ol", "steps");
  for (const [name, value] of [
    ["The key that the client made up", accept.key],
    ["with the GUID that RFC 6455 names behind it", accept.key + accept.guid],
    ["SHA-1 of that, 20 bytes", spaced(accept.sha1)],
    ["in Base64: what the server must answer", accept.accept],
  ]) {
    const step = element("li", "", `${name} `);
    step.append(element("code", "", value));
    steps.append(step);
  }
  const received = accept.received === null || accept.received === undefined;
  const verdict = received ? "" : accept.ok ? "✓ That is what it has answered." : `✗ It has answered ${accept.received}.`;
  return [element("h4", "", "Key and accept"), steps, element("p", accept.ok ? "verdict good" : "verdict bad", verdict)];
}

function problemParts(item) {
  const where = `Byte ${item.offset} of what this side has sent${item.byte ? `, 0x${item.byte}` : ""}. `;
  const made = [element("p", "verdict bad", item.message), element("p", "", where)];
  if (item.close_code) made.push(element("p", "", `The connection is closed with ${item.close_code}, ${meaningOf(item.close_code)}.`));
  return made;
}

// Building blocks.

function code(name, text) {
  const made = element("p", "dump");
  made.append(element("span", "dump-name", name), element("code", "", text));
  return made;
}

function table(name, heads, rows, className = "") {
  const made = element("table", className);
  made.append(element("caption", "sr", name));
  if (heads) {
    const head = element("tr");
    head.append(...heads.map((text) => { const cell = element("th", "", text); cell.scope = "col"; return cell; }));
    const top = element("thead");
    top.append(head);
    made.append(top);
  }
  const body = element("tbody");
  for (const cells of rows) {
    const row = element("tr");
    row.append(...cells);
    body.append(row);
  }
  made.append(body);
  const frame = element("div", "scroll");
  frame.append(made);
  return frame;
}
