"""Runs exchange.mjs with node, where node and its packages are; else the test is skipped (77).

    run.py STAMP_ECHO LINK_ECHO
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
packages = [os.path.join(HERE, "node_modules", *name) for name in (("zeromq",), ("@msgpack", "msgpack"))]
if not all(os.path.isdir(package) for package in packages):
    print("no packages of node: skipped; `./dev setup node` installs them")
    sys.exit(77)
# Its native half is built for some machines and not for all.
probe = subprocess.run([node, "-e", "import('zeromq').catch(() => process.exit(1))"], cwd=HERE, check=False,
                       stderr=subprocess.DEVNULL)
if probe.returncode != 0:
    print("node's zeromq does not load here: skipped")
    sys.exit(77)
sys.exit(subprocess.run([node, os.path.join(HERE, "exchange.mjs"), *sys.argv[1:]], check=False).returncode)
