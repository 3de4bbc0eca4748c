"""Evaluates commands in the REPL of a GDB that speaks the Debug Adapter Protocol, and prints what they answered.

usage: dap.py GDB [COMMAND ...]
"""

import json
import subprocess
import sys


class Adapter:
    def __init__(self, gdb):
        self.process = subprocess.Popen(
            [gdb, "-nx", "--interpreter=dap"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.last = 0

    def request(self, command, **arguments):
        """The response to a request; events on the way are nobody's business here."""
        self.last += 1
        message = {"seq": self.last, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()
        while True:
            answer = self.read()
            if answer["type"] == "response" and answer["request_seq"] == self.last:
                return answer

    def read(self):
        length = None
        for line in iter(self.process.stdout.readline, b"\r\n"):
            if not line:
                raise SystemExit("GDB ended.")
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return json.loads(self.process.stdout.read(length))


adapter = Adapter(sys.argv[1])
adapter.request("initialize", adapterID="iommulens")
for command in sys.argv[2:]:
    answer = adapter.request("evaluate", expression=command, context="repl")
    print("(dap) " + command)
    print(answer["body"]["result"] if answer["success"] else "error: " + answer["message"], end="\n")
adapter.request("disconnect")
adapter.process.wait()
