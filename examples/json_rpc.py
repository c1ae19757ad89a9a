"""JSON-RPC 2.0 over a WebSocket: a request in one message, its answer in another. The subprotocol says that it is that.

Run: python examples/json_rpc.py [PORT]
Try: python -m syncws connect --subprotocol jsonrpc ws://127.0.0.1:8765/, and then this line, and variations of it:
     {"jsonrpc": "2.0", "method": "factorial", "params": [20], "id": 1}
"""

import contextlib
import inspect
import json
import logging
import math
import sys
import time

import syncws


def factorial(n):
    if type(n) is not int or not 0 <= n <= 500:
        raise ValueError("n must be an integer from 0 to 500")
    return math.factorial(n)


METHODS = {"factorial": factorial, "now": lambda: time.strftime("%H:%M:%S"), "broken": lambda: 1 // 0}


def failure(code: int, text: str, id: str | int | None = None) -> dict:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": text}, "id": id}


def is_request(call: object) -> bool:
    if not isinstance(call, dict) or call.get("jsonrpc") != "2.0":
        return False
    method, params, id = call.get("method"), call.get("params", []), call.get("id")
    return isinstance(method, str) and isinstance(params, (list, dict)) and type(id) in (str, int, type(None))


def answer(call: object) -> dict | None:
    if not is_request(call):
        return failure(-32600, "Invalid Request")
    response = perform(call["method"], call.get("params", []), call.get("id"))
    return response if "id" in call else None  # without an id it is a notification, which gets no response


def perform(name: str, params: list | dict, id: str | int | None) -> dict:
    if name not in METHODS:
        return failure(-32601, f"Method not found: {name:.40}", id)
    positional, named = (params, {}) if isinstance(params, list) else ((), params)
    try:
        inspect.signature(METHODS[name]).bind(*positional, **named)
        return {"jsonrpc": "2.0", "result": METHODS[name](*positional, **named), "id": id}
    except (TypeError, ValueError) as error:
        return failure(-32602, f"Invalid params: {error}", id)
    except Exception:
        logging.exception("%s failed", name)
        return failure(-32603, "Internal error", id)  # what went wrong is not for the client


def rpc(ws: syncws.WebSocket) -> None:
    if ws.subprotocol is None:
        ws.close(1008, "offer the subprotocol jsonrpc")
    for text in ws:
        try:
            call = json.loads(text)
        except (ValueError, RecursionError):
            response = failure(-32700, "Parse error")
        else:
            is_batch = isinstance(call, list) and call
            response = [each for each in map(answer, call) if each] if is_batch else answer(call)
        if response:
            ws.send(json.dumps(response))


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
    server = syncws.WebSocketServer(address, rpc, subprotocols=["jsonrpc"], max_message_size=65536)
    with server, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on ws://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()
