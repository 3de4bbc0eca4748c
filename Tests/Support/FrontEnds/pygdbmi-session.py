"""Drives a GDB as an MI front end does, through pygdbmi, and prints what it hands to its user: JSON of class and payload.

usage: pygdbmi-session.py GDB [COMMAND ...]
"""

import json
import sys

from pygdbmi.gdbcontroller import GdbController

controller = GdbController([sys.argv[1], "-nx", "--interpreter=mi3"])
for command in sys.argv[2:]:
    print("(mi) " + command)
    answers = controller.write(command, timeout_sec=60, raise_error_on_timeout=True)
    while not any(answer["type"] == "result" for answer in answers):
        answers += controller.get_gdb_response(timeout_sec=60)
    for answer in answers:
        if answer["type"] == "result":
            print(answer["message"], json.dumps(answer["payload"]))
controller.exit()
