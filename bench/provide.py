"""What the comparison needs of this machine: installed where that can be done, asked for where it cannot."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

__all__ = ["Missing", "found", "packages_of_node", "require", "version"]

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "bench/peers/bullmq"
NODE_MIN = 20
PACKAGES = {"redis-server": "redis-server", "webhook": "webhook", "node": "nodejs", "npm": "npm"}
"""The system's package of each program, in Debian and its descendants."""
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


class Missing(Exception):
    """A program that is not here and could not be got; the message says what would help."""


def found(program: str) -> str:
    """The path of a program. Raises Missing."""
    path = shutil.which(program, path=PATH)
    if path is None:
        raise Missing(f"{program} is not here: `apt-get install {PACKAGES[program]}`, or this system's way to get it")
    return path


def require(*programs: str) -> None:
    """Have these programs on this machine. Raises Missing."""
    missing = [PACKAGES[name] for name in programs if shutil.which(name, path=PATH) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {', '.join(missing)} (once) ...", flush=True)
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # no service is started
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        for command in (["apt-get", "update", "-qq"], install):
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Missing(f"`{' '.join(command)}` has failed: {done.stderr.strip()[-300:]}")
    for name in programs:
        found(name)


def packages_of_node() -> Path:
    """A folder in build/ with the peer's script and the packages that its lock file pins. Raises Missing."""
    require("node", "npm")
    if int(version("node").partition(".")[0]) < NODE_MIN:
        raise Missing(f"Node.js {NODE_MIN} or newer is needed; this is {version('node')}")
    folder = ROOT / "build/peers/bullmq"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCE / "peer.mjs", folder)
    stamp, digest = folder / ".installed", hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="ascii") != digest:
        print("Installing the packages that bench/peers/bullmq/package-lock.json pins (once) ...", flush=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, folder)
        command = [found("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"`npm ci` has failed: {done.stderr.strip()[-300:]}")
        stamp.write_text(digest, encoding="ascii")
    return folder


def version(program: str) -> str:
    """The number that a program says is its version."""
    flag = "-version" if program == "webhook" else "--version"
    said = subprocess.run([found(program), flag], capture_output=True, text=True, check=True).stdout
    match = re.search(r"\d+(?:\.\d+)+", said)
    return match[0] if match else said.strip()
