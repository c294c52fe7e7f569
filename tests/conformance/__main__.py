"""`python -m tests.conformance`, in the repository's root."""

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import trustme

from tests.conformance.catalog import CLIENTS, SECTIONS, WAYS
from tests.conformance.clients.plan import Plan, write_plan
from tests.conformance.environments import MissingError
from tests.conformance.limits import LIMITS
from tests.conformance.models import LOADED_AT_START, make_cases, write_models
from tests.conformance.outcomes import ClientRun, judge, read_outcomes
from tests.conformance.page import render
from tests.conformance.server import ServerError, serving

PAGE = Path("docs/compatibility.md")
CLIENT_TIMEOUT_S = 300


def main():
    """Ask a server with clients that others wrote; write the page of what works; fail if that is not what is known."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=main.__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=CLIENTS, default=list(CLIENTS), metavar="CLIENT", help="some of them"
    )
    parser.add_argument("--cache", type=Path, default=Path("build/conformance"), help="keeps the clients' environments")
    arguments = parser.parse_args()
    clients = [CLIENTS[name] for name in arguments.only]
    arguments.cache.mkdir(parents=True, exist_ok=True)
    installed = _install({client.environment for client in clients}, arguments.cache)
    with tempfile.TemporaryDirectory(prefix="headgate-conformance-") as folder:
        write_models(Path(folder, "models"))
        runs = [_run(client, installed[client.environment], Path(folder)) for client in clients]
        _write_certificates(Path(folder))
        for way in WAYS:
            found = [
                (client, installed[client.environment])
                for client in clients
                if client.name in way.clients and not isinstance(installed[client.environment], MissingError)
            ]
            if found:
                runs.append(_connect(way, found, Path(folder)))
    complete = set(arguments.only) == set(CLIENTS)
    problems = judge(runs, LIMITS, complete)
    for problem in problems:
        print(problem)
    page = PAGE if complete and not problems else arguments.cache / PAGE.name
    page.write_text(render(SECTIONS, runs, LIMITS), encoding="utf-8")
    print(f"wrote {page}; {len(problems)} problems")
    return 1 if problems else 0


def _install(environments, cache):
    """Return for each environment what it installed, or why it could not."""

    def ensure(environment):
        try:
            return environment.ensure(cache)
        except MissingError as error:
            return error

    with ThreadPoolExecutor(2) as threads:
        return dict(zip(environments, threads.map(ensure, environments), strict=True))


def _run(client, installed, folder):
    run = ClientRun(client.name, client.title)
    if isinstance(installed, MissingError):
        run.missing = str(installed)
        print(f"{run.name}: not run: {run.missing}", flush=True)
        return run
    start = time.monotonic()
    plan = folder / "plan.json"
    try:
        # Each client finds a server that nobody has asked before.
        with serving(folder / "models", LOADED_AT_START, client.server, folder / "server.log") as (grpc, http):
            write_plan(plan, Plan(grpc, http, make_cases()))
            _ask(client.command(plan, installed), run)
    except ServerError as error:
        run.problem = str(error)
    _report(run, start)
    return run


def _report(run, start):
    right = sum(outcome.ok for outcome in run.outcomes)
    print(f"{run.name}: {right} of {len(run.outcomes)} checks in {time.monotonic() - start:.0f} s", flush=True)


def _write_certificates(folder):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "server.pem", append=True)


def _connect(way, clients, folder):
    """Ask one server with several clients, given with what their environments have installed."""
    all_runs = ClientRun(way.name, way.title)
    start = time.monotonic()
    plan = folder / "plan.json"
    options = [option.format(folder=folder) for option in way.server]
    authority = str(folder / "authority.pem") if way.is_tls else ""
    try:
        with serving(folder / "models", LOADED_AT_START, options, folder / "server.log") as (grpc, http):
            write_plan(plan, Plan(grpc, http, make_cases(), authority, only_main=True))
            for client, installed in clients:
                run = ClientRun(client.name, client.title + ", HTTP" * ("http" in client.arguments))
                _ask(client.command(plan, installed), run)
                all_runs.add(run)
    except ServerError as error:
        all_runs.problem = str(error)
    _report(all_runs, start)
    return all_runs


def _ask(command, run):
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        read_outcomes((error.stdout or b"").decode(), run)
        last = f"{run.outcomes[-1].call} ({run.outcomes[-1].case})" if run.outcomes else "its start"
        run.problem = f"hung after {last}; it had {CLIENT_TIMEOUT_S} s"
        return
    read_outcomes(done.stdout, run)
    if done.returncode != 0:
        run.problem = f"ended with {done.returncode}: {' '.join(done.stderr.splitlines()[-3:])}"


if __name__ == "__main__":
    sys.exit(main())
