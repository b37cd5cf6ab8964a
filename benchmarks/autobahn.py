"""Autobahn's fuzzing client against an echo of ours: all its cases, and their counts by behaviour.

usage: python benchmarks/autobahn.py [--cases '1.*' '12.*' ...] COMMAND ...

COMMAND is the client: wstest of PyPI's autobahntestsuite, which runs on Python 2.7; ``nox -s autobahn`` gets it. The
reports, as JSON and HTML, are in autobahn/ afterwards. The status is 1 if a case has failed.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from matrix.process import started
from matrix.servers import APPS

SERVER = [
    sys.executable, "-m", "aiohttpd", "serve", str(APPS / "handlers.py") + ":WebSocket",
    "--port", "{port}", "--no-access-log",
]  # fmt: skip
# NON-STRICT: right, but later than it could be. INFORMATIONAL: what is measured, or is nobody's rule.
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


def run(command: list[str], cases: list[str], folder: Path) -> dict[str, dict[str, str]]:
    """Run the client; gives its verdict on each case."""
    folder.mkdir(exist_ok=True)
    specification = folder / "cases.json"
    with started("aiohttpd", SERVER) as (_, port):
        server = {"agent": "aiohttpd", "url": f"ws://127.0.0.1:{port}"}
        wanted = {"outdir": str(folder), "servers": [server], "cases": cases, "exclude-cases": []}
        specification.write_text(json.dumps({**wanted, "exclude-agent-cases": {}}))
        subprocess.run([*command, "-m", "fuzzingclient", "-s", str(specification)], check=True)
    verdicts: dict[str, dict[str, str]] = json.loads((folder / "index.json").read_text())["aiohttpd"]
    return verdicts


def main() -> None:
    """Run, print, and say by the status whether all is well."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--cases", nargs="*", default=["*"])
    arguments.add_argument("command", nargs="+")
    given = arguments.parse_args()
    verdicts = run(given.command, given.cases, Path("autobahn").resolve())
    kinds: dict[str, Counter[str]] = {}
    failed = []
    for case, verdict in verdicts.items():
        kinds.setdefault(case.split(".")[0], Counter())[verdict["behavior"]] += 1
        if verdict["behavior"] not in GOOD or verdict["behaviorClose"] not in GOOD:
            failed.append(f"{case}: {verdict['behavior']}, its close {verdict['behaviorClose']}")
    for kind in sorted(kinds, key=int):
        print(f"{kind:>3}.*  {', '.join(f'{count} {name}' for name, count in kinds[kind].most_common())}")
    print(f"{len(verdicts)} cases, {len(failed)} failed", *failed, sep="\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
