// Puts the page together. The inspector connects first, so that it sees how the others do.
import {ChatPanel} from "./chat.js";
import {EchoPanel} from "./echo.js";
import {InspectorPanel} from "./inspector.js";
import {TickerPanel} from "./ticker.js";

new InspectorPanel();
new EchoPanel();
new ChatPanel();
new TickerPanel();
