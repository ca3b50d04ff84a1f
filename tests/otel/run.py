"""Runs exchange.mjs with node, where node and its packages are; else the test is skipped (77).

    run.py PEER
"""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
node = shutil.which("node")
if node is None:
    print("no node: skipped")
    sys.exit(77)
packages = [os.path.join(HERE, "node_modules", "@opentelemetry", name) for name in ("api", "core", "propagator-b3")]
if not all(os.path.isdir(package) for package in packages):
    print("no packages of node: skipped; `./dev setup node` installs them")
    sys.exit(77)
sys.exit(subprocess.run([node, os.path.join(HERE, "exchange.mjs"), sys.argv[1]], check=False).returncode)
