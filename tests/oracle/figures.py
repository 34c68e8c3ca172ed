"""Computes the figures of the built-in metrics from an export of the log, in SQL, knowing nothing of how `kpis` does.

    python figures.py EXPORT.jsonl             every figure, as JSON
    python figures.py --timed EXPORT.jsonl     how many events were read and how many seconds reading and computing took

EXPORT.jsonl is what `rapport audit export` prints. What each figure means stands in `figures.sql`, beside this file.
"""

import json
import sys
import time
from pathlib import Path

import duckdb

SQL = Path(__file__).with_name("figures.sql").read_text(encoding="utf-8")


def main(arguments: list[str]) -> None:
    timed = arguments[0] == "--timed"
    export = arguments[-1]
    began = time.perf_counter()
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    connection.execute("SET VARIABLE export = ?", [export])
    connection.execute(SQL)
    found = connection.execute("SELECT * FROM figure ORDER BY ALL")
    names = [column[0] for column in found.description]
    figures = [dict(zip(names, row)) for row in found.fetchall()]
    seconds = time.perf_counter() - began
    if timed:
        events = connection.execute("SELECT count(*) FROM event").fetchone()[0]
        print(json.dumps({"events": events, "figures": len(figures), "seconds": seconds}))
    else:
        print(json.dumps(figures))


main(sys.argv[1:])
