"""What clients reported, and whether it is what is expected of them."""

import fnmatch
import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """What became of a check: a call, in a case of it."""

    call: str
    case: str
    ok: bool
    detail: str = ""


@dataclass
class ClientRun:
    """What became of a client.

    Attributes:
        name: its id.
        title: how people call it, with its version.
        outcomes: of its checks, in their order.
        missing: why it was not run; "" if it was.
        problem: why it ended before its checks did; "" if it did not.
    """

    name: str
    title: str
    outcomes: list[Outcome] = field(default_factory=list)
    missing: str = ""
    problem: str = ""

    def add(self, other):
        """Add the run of a client to this one of several: its name stands where those of calls do, calls as cases."""
        title = other.title.replace(" {version}", "")
        for each in other.outcomes:
            case = f"{each.call}, {each.case}" if each.case else each.call
            self.outcomes.append(Outcome(title, case, each.ok, each.detail))
        if other.problem or not other.outcomes:
            problem = f"{other.name}: {other.problem or 'made no checks'}"
            self.problem = f"{self.problem}; {problem}" if self.problem else problem


@dataclass(frozen=True)
class Limit:
    """Something that is known not to work.

    Attributes:
        clients, call, case: which checks; patterns, as of file names.
        error: a part of what they fail with.
        reason: for people.
    """

    clients: str
    call: str
    case: str
    error: str
    reason: str

    def covers(self, run, outcome):
        """Return whether a check of a client is meant."""
        return (
            fnmatch.fnmatchcase(run.name, self.clients)
            and fnmatch.fnmatchcase(outcome.call, self.call)
            and fnmatch.fnmatchcase(outcome.case, self.case)
        )


def read_outcomes(output, run):
    """Fill a run with what a script printed: a line of JSON for each check; other lines are not its own."""
    for line in output.splitlines():
        if line.startswith('{"client": '):
            content = json.loads(line)
            run.title = run.title.replace("{version}", content["version"])
        elif line.startswith('{"missing": '):
            run.missing = json.loads(line)["missing"]
        elif line.startswith('{"call": '):
            run.outcomes.append(Outcome(**json.loads(line)))


def limit_of(run, outcome, limits):
    """Return the limit that covers a check, None where there is none."""
    return next((limit for limit in limits if limit.covers(run, outcome)), None)


def judge(runs, limits, complete):
    """Return in one line each what is not as expected: a failure without a limit, a limit without a failure.

    Args:
        runs: of the clients.
        limits: what is known not to work.
        complete: whether these are all clients, so that each limit has to be met.
    """
    problems = ["no client was run"] if all(run.missing for run in runs) else []
    for run in runs:
        if run.problem:
            problems.append(f"{run.name}: {run.problem}")
        elif not run.outcomes and not run.missing:
            problems.append(f"{run.name}: made no checks")
        for outcome in run.outcomes:
            what = f"{run.name}: {outcome.call}" + (f" ({outcome.case})" if outcome.case else "")
            limit = limit_of(run, outcome, limits)
            if not outcome.ok and (limit is None or limit.error not in outcome.detail):
                problems.append(f"{what}: {outcome.detail}")
            elif outcome.ok and limit is not None:
                problems.append(f"{what}: works, though a limit says: {limit.reason}")
    if complete and all(not run.missing and not run.problem for run in runs):
        met = {limit_of(run, outcome, limits) for run in runs for outcome in run.outcomes}
        problems += [f"a limit that no check meets: {limit}" for limit in limits if limit not in met]
    return problems
