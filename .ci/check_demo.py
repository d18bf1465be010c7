"""Checks the last line of `cargo demo --json`: every document searchable, nothing dead-lettered, good answers."""

import json
import sys

report = json.loads(sys.stdin.read())
faults = []


def expect(condition, text):
    if not condition:
        faults.append(text)


expect(report["documents"] >= 60, f"only {report['documents']} documents, expected at least 60")
expect(report["refused"] == 0, f"{report['refused']} documents refused")
expect(report["chunks"] >= report["documents"], "fewer chunks than documents")
expect(report["points"] == report["chunks"], f"{report['points']} points for {report['chunks']} chunks")
expect(report["dead_letters"] == 0, f"{report['dead_letters']} dead letters")
expect(len(report["queries"]) >= 30, f"only {len(report['queries'])} golden queries were asked")
first = [q for q in report["queries"] if q["hits"] and q["hits"][0]["doc_id"] == q["expected"]]
rate = len(first) / max(1, len(report["queries"]))
expect(rate >= 0.9, f"the expected document came first for only {rate:.0%} of the queries")

if faults:
    sys.exit("demo: " + "; ".join(faults))
print(f"demo: {report['documents']} documents, {report['points']} points, expected first {rate:.1%}")
