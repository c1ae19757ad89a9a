// The ticker: prices that the server pushes, as a line, as figures, and as words for those who do not see the line.
import {Panel, element} from "./panel.js";

const KEPT = 60;  // quotes in the plot
const IN_TABLE = 10;
// In pixels: the line is above, the volumes are below.
const TOP = 10;
const BARS_HEIGHT = 36;
const GAP = 14;
const MARGIN = 52;  // for the labels at the right

export class TickerPanel extends Panel {
  constructor() {
    super("ticker");
    this.quotes = [];
    this.paused = false;
    this.part("pause").onclick = () => this.pauseOrResume();
    new ResizeObserver(() => this.draw()).observe(this.part("plot"));
    this.connection.open();
  }

  // The server is asked to pause, so that nothing is sent in vain.
  pauseOrResume() {
    if (!this.connection.isOpen) return;
    this.paused = !this.paused;
    this.connection.send(this.paused ? "pause" : "resume");
    this.part("pause").textContent = this.paused ? "Resume" : "Pause";
  }

  opened() {
    this.part("last").replaceChildren();
    if (this.paused) this.connection.send("pause");
  }

  received(data) {
    const event = JSON.parse(data);
    this.quotes = event.type === "history" ? event.quotes : [...this.quotes, event].slice(-KEPT);
    this.showFigures();
    this.showTable();
    this.draw();
  }

  showFigures() {
    const [before, now] = this.quotes.slice(-2);
    const change = now.price - before.price;
    const prices = this.quotes.map((quote) => quote.price);
    this.part("price").textContent = now.price.toFixed(2);
    const shown = this.part("change");
    shown.textContent = `${change < 0 ? "▼ −" : "▲ +"}${Math.abs(change).toFixed(2)}`;
    shown.className = change < 0 ? "down" : "up";
    this.part("volume").textContent = String(now.volume);
    this.part("range").textContent = `${Math.min(...prices).toFixed(2)} – ${Math.max(...prices).toFixed(2)}`;
  }

  showTable() {
    const rows = this.quotes.slice(-IN_TABLE).reverse().map((quote) => {
      const row = element("tr");
      row.append(element("td", "", quote.number), element("td", "", quote.price.toFixed(2)), element("td", "", quote.volume));
      return row;
    });
    this.part("quotes").replaceChildren(...rows);
  }

  draw() {
    const plot = this.part("plot");
    const {clientWidth: width, clientHeight: height} = plot;
    if (this.quotes.length < 2 || width === 0) return;
    plot.replaceChildren(picture(this.quotes, width, height));
  }
}

// The plot is drawn in pixels of the page, so that its text and its lines keep their size when the page is narrow.
function picture(quotes, width, height) {
  const bottom = height - 4;
  const ground = bottom - BARS_HEIGHT - GAP;  // of the line
  const prices = quotes.map((quote) => quote.price);
  const low = Math.min(...prices);
  const high = Math.max(...prices, low + 0.1);
  const most = Math.max(...quotes.map((quote) => quote.volume));
  const step = (width - MARGIN) / (KEPT - 1);
  const x = (index) => Math.round((KEPT - quotes.length + index) * step * 10) / 10;
  const y = (price) => Math.round((ground - (price - low) / (high - low) * (ground - TOP)) * 10) / 10;
  const points = prices.map((price, index) => `${x(index)},${y(price)}`);
  const last = prices.length - 1;

  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": inWords(prices)});
  for (const price of [low, (low + high) / 2, high]) {
    svg.append(shape("line", {class: "grid", x1: 0, x2: width - MARGIN, y1: y(price), y2: y(price)}));
    svg.append(shape("text", {x: width, y: y(price) + 4, "text-anchor": "end"}, price.toFixed(2)));
  }
  svg.append(shape("text", {x: width, y: bottom, "text-anchor": "end"}, "volume"));
  quotes.forEach((quote, index) => {
    const tall = quote.volume / most * BARS_HEIGHT;
    const bar = Math.max(1.5, step * 0.6);
    svg.append(shape("rect", {class: "bar", x: x(index) - bar / 2, y: bottom - tall, width: bar, height: tall}));
  });
  svg.append(shape("polygon", {class: "area", points: `${x(0)},${ground} ${points.join(" ")} ${x(last)},${ground}`}));
  svg.append(shape("polyline", {class: "price-line", points: points.join(" ")}));
  svg.append(shape("circle", {class: "now", cx: x(last), cy: y(prices[last]), r: 4}));
  return svg;
}

function inWords(prices) {
  const [first, last] = [prices[0], prices[prices.length - 1]];
  const course = last > first ? "up from" : last < first ? "down from" : "the same as";
  return `Line of the last ${prices.length} prices, between ${Math.min(...prices).toFixed(2)} and ` +
    `${Math.max(...prices).toFixed(2)}; the newest is ${last.toFixed(2)}, ${course} ${first.toFixed(2)}.`;
}

function shape(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}
