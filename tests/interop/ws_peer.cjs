// Clients and servers of the npm package "ws" that follow orders from standard input: see with_ws.py.

"use strict";

const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const readline = require("node:readline");
const { WebSocket, WebSocketServer } = require("ws");

const connections = new Map();
const servers = new Map();
let accepted = 0;

function write(item) {
  process.stdout.write(JSON.stringify(item) + "\n");
}

function packed(data, binary) {
  return binary ? { binary: data.toString("base64") } : { text: data.toString() };
}

function unpacked(order) {
  return "text" in order ? order.text : Buffer.from(order.binary, "base64");
}

/** Pass on what happens on a connection. */
function watch(name, ws) {
  connections.set(name, ws);
  ws.on("message", (data, binary) => write({ source: name, event: "message", ...packed(data, binary) }));
  ws.on("pong", (data) => write({ source: name, event: "pong", ...packed(data, true) }));
  ws.on("close", (code, reason) => write({ source: name, event: "close", code, reason: reason.toString() }));
  ws.on("error", () => {}); // "close" follows, with the code
}

const orders = {
  connect(order, done, failed) {
    const ws = new WebSocket(order.uri, order.subprotocols, {
      headers: order.headers,
      perMessageDeflate: order.deflate,
      maxPayload: order.max_size,
      ca: order.authority ? fs.readFileSync(order.authority) : undefined,
    });
    const refused = (error) => failed(error.message);
    let head;
    ws.on("upgrade", (response) => (head = response.headers));
    ws.on("open", () => {
      const extensions = head["sec-websocket-extensions"] || "";
      ws.off("error", refused);
      done({ name: order.name, subprotocol: ws.protocol, headers: head, extensions });
    });
    ws.on("unexpected-response", (request, response) => {
      const pieces = [];
      response.on("data", (piece) => pieces.push(piece));
      response.on("end", () => {
        done({ status: response.statusCode, headers: response.headers, ...packed(Buffer.concat(pieces), true) });
      });
    });
    ws.once("error", refused);
    watch(order.name, ws);
  },

  listen(order, done) {
    const pem = order.certificate && fs.readFileSync(order.certificate);
    const listener = pem ? https.createServer({ key: pem, cert: pem }) : http.createServer();
    const server = new WebSocketServer({
      noServer: true,
      perMessageDeflate: order.deflate,
      maxPayload: order.max_size,
      handleProtocols: (offered) => order.subprotocols.find((subprotocol) => offered.has(subprotocol)) || false,
    });
    const name = `server ${servers.size}`;
    let extensions = "";
    server.on("headers", (lines) => {
      const answer = lines.find((line) => line.startsWith("Sec-WebSocket-Extensions: ")) || ": ";
      extensions = answer.slice(answer.indexOf(": ") + 2);
      lines.push(...order.headers.map((field) => field.join(": ")));
    });
    listener.on("upgrade", (request, socket, head) => {
      const answer = { "/moved": "302 Found\r\nLocation: /", "/private": "401 Unauthorized\r\nWWW-Authenticate: Basic" };
      if (request.url in answer) {
        socket.end(`HTTP/1.1 ${answer[request.url]}\r\nContent-Length: 12\r\n\r\nwho are you?`);
        return;
      }
      server.handleUpgrade(request, socket, head, (ws) => {
        const connection = `accepted ${accepted++}`;
        watch(connection, ws);
        write({ source: name, name: connection, subprotocol: ws.protocol, headers: request.headers, extensions });
      });
    });
    servers.set(name, listener);
    listener.listen(order.where, () => done({ name, port: order.where.path ? 0 : listener.address().port }));
  },

  stop(order, done) {
    servers.get(order.name).close();
    done(null);
  },

  send(order, done, failed) {
    const { fin = true } = order;
    connections.get(order.name).send(unpacked(order), { fin }, (error) => (error ? failed(error.message) : done(null)));
  },

  ping(order, done) {
    connections.get(order.name).ping(unpacked(order));
    done(null);
  },

  close(order, done) {
    const ws = connections.get(order.name);
    if (order.code === null) {
      ws.close();
    } else {
      ws.close(order.code, order.reason);
    }
    done(null);
  },

  terminate(order, done) {
    connections.get(order.name).terminate();
    connections.delete(order.name);
    done(null);
  },
};

const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on("line", (line) => {
  const order = JSON.parse(line);
  const { number } = order;
  const failed = (error) => write({ number, error });
  try {
    orders[order.order](order, (result) => write({ number, result }), failed);
  } catch (error) {
    failed(error.stack);
  }
});
lines.on("close", () => process.exit(0));
