"""Tells hatchling what the wheel holds beside Python: the extension, built for one machine and every Python from 3.8 on."""

import sysconfig
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ExtensionHook(BuildHookInterface):
    def initialize(self, version, build_data):
        if not Path(self.root, "gdb-scripts/iommulens/_core.abi3.so").exists():
            raise SystemExit("The extension _core is missing: run `make build` first, or `make wheel`, which does.")
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = "cp38-abi3-" + platform
