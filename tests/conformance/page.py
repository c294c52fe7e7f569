"""The page that a run writes: what works with which client."""

from tests.conformance.outcomes import limit_of

INTRODUCTION = """\
# Compatibility

Written by `make conformance`: clients that others wrote, each in an environment of its own, ask a server that runs as
users run it, and their answers are compared with what numpy computes. A run that finds anything else than what stands
here fails and leaves this page as it is.

- *yes*: the answer was right, or the error was the one that the case is about.
- *no*: it does not work; the note below the table says why.
- An empty field: the client has no such call, or is not asked to make it.

The last table is of servers that are reached in another way than through a port in plain text: by each client's main
calls.
"""


def render(sections, runs, limits):
    """Return the page: a table for each section."""
    by_name = {run.name: run for run in runs}
    parts = [INTRODUCTION]
    for section in sections:
        shown = [by_name[name] for name in section.runs if name in by_name]
        if shown:
            parts.append("\n".join(_table(section, shown, limits)).rstrip() + "\n")
    return "\n".join(parts)


def _table(section, runs, limits):
    yield f"## {section.title}\n"
    for run in runs:
        if run.missing:
            yield f"{_title(run)} was not run: {run.missing}.\n"
    present = [run for run in runs if not run.missing]
    if not present:
        return
    reasons = []
    yield f"| {' | '.join(section.rows)} | {' | '.join(_title(run) for run in present)} |"
    yield f"|---|---|{'---|' * len(present)}"
    for (call, cells), cases in _rows(present, limits, reasons).items():
        yield f"| {call} | {_join(cases)} | {' | '.join(cells)} |"
    if reasons:
        yield ""
    for number, reason in enumerate(reasons, start=1):
        yield f"{number}. {reason}"


def _rows(runs, limits, reasons):
    """Return the cases by call and cells, those of a call together; reasons for what does not work are added."""
    checks = dict.fromkeys((outcome.call, outcome.case) for run in runs for outcome in run.outcomes)
    calls = list(dict.fromkeys(call for call, _ in checks))
    rows = {}
    for call, case in sorted(checks, key=lambda check: calls.index(check[0])):
        cells = tuple(_cell(run, call, case, limits, reasons) for run in runs)
        rows.setdefault((call, cells), []).append(case)
    return rows


def _cell(run, call, case, limits, reasons):
    outcomes = [outcome for outcome in run.outcomes if (outcome.call, outcome.case) == (call, case)]
    if not outcomes:
        return ""
    failed = next((outcome for outcome in outcomes if not outcome.ok), None)
    if failed is None:
        return "yes"
    limit = limit_of(run, failed, limits)
    reason = limit.reason if limit else f"Not expected: {failed.detail}"
    if reason not in reasons:
        reasons.append(reason)
    return f"no ({reasons.index(reason) + 1})"


def _join(cases):
    return "; ".join(case or "plain" for case in cases) if cases != [""] else ""


def _title(run):
    return run.title.replace(" {version}", "")
