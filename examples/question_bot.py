"""A bot that answers questions. Messages are typed: dataclasses in the program, JSON with a "type" on the wire.

Run: python examples/question_bot.py [PORT]    (needs Bottle)
Try: ask "who am I?", "what time is it?", "what is 6 * 7?". In the console of the browser: ws.send("nonsense").
"""

import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import bottle

import syncws
from syncws.bottle import SyncwsServer, WebSocketPlugin

bottle.install(WebSocketPlugin(max_message_size=4096))


@dataclass
class Join:
    name: str


@dataclass
class Ask:
    question: str


@dataclass
class Answer:
    text: str


def encode(message: Answer) -> str:
    return json.dumps({"type": type(message).__name__, **asdict(message)})


def decode(text: str | bytes) -> Join | Ask | None:
    try:
        fields = json.loads(text)
        kind = {"Join": Join, "Ask": Ask}[fields.pop("type")]
        return kind(**{name: str(value) for name, value in fields.items()})
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def answer(name: str, question: str) -> Answer:
    if found := re.search(r"([0-9]{1,9}) *\* *([0-9]{1,9})", question):
        return Answer(f"It is {int(found[1]) * int(found[2])}.")
    if "time" in question:
        return Answer(time.strftime("It is %H:%M."))
    if "who am i" in question.lower():
        return Answer(f"You are {name}.")
    return Answer("I do not know. Ask me who you are, for the time, or what 6 * 7 is.")


@bottle.get("/")
def page() -> str:
    return Path(__file__).with_suffix(".html").read_text(encoding="utf-8")


@bottle.route("/bot", websocket=True)
def talk(ws: syncws.WebSocket) -> None:
    name = "a stranger"
    for text in ws:
        match decode(text):
            case Join(name):
                reply = Answer(f"Hello, {name}.")
            case Ask(question):
                reply = answer(name, question)
            case None:
                reply = Answer("Send me a Join with a name, or an Ask with a question.")
        ws.send(encode(reply))


if __name__ == "__main__":
    bottle.run(server=SyncwsServer, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
