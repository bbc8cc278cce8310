"""The service under load, on this machine: ``python -m stages.studies.load [--model MODEL]``.

Clients send edits one after another, several of them at once. Meanwhile another client asks ``/health`` all the time. The
counts and times are bounded, so that the study takes 12 minutes at most. It ends with an error if the service does not keep
what it promises.
"""

import argparse
import asyncio
import io
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from stages.core.errors import InputError
from stages.core.files import write_json, write_text
from stages.core.paths import REFERENCE, REPORTS
from stages.studies.fuzz import EDITS_PATH, draw_attempts, send
from stages.studies.load_verdict import broken_promises, counts
from stages.studies.served import Served, served

HEALTH_EVERY = 0.05  # seconds
SIDE = 7000  # pixels of the large pictures
EDIT = {"prompt": "a carrot in the forest", "term": "carrot", "source_term": "mushroom"}
CHEAP = {"prompt": "a carrot in the forest", "mask_mode": "none", "steps": "2", "strength": "1"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is sent."""

    concurrency: tuple[int, ...] = (1, 4, 16, 64)  # clients at once
    edits: int = 192  # for each number of clients, with the model's own settings
    seconds: float = 75  # for each number of clients; no client begins an edit after it
    cheap: int = 2000  # edits of two steps, between which memory is compared
    fuzzed: int = 2000  # hostile requests
    large: int = 12  # pictures of 49 megapixels at once
    seed: int = 0  # of the hostile requests


@dataclass(frozen=True, kw_only=True)
class Round:
    """What some clients met who sent edits one after another."""

    clients: int
    seconds: float
    statuses: dict[str, int]  # status → answers
    p50: float  # seconds of an answer of 200
    p99: float
    per_second: float  # answers of 200
    health_p99: float  # seconds of an answer of /health meanwhile


@dataclass
class Clients:
    """Clients that send, and what they met."""

    http: httpx.AsyncClient
    statuses: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)  # of answers of 200

    async def send(self, picture: bytes, fields: dict[str, str]) -> None:
        """Send one edit and wait for the answer."""
        start = time.perf_counter()
        answer = await self.http.post(EDITS_PATH, files={"image": picture}, data=fields)
        self.statuses[str(answer.status_code)] += 1
        if answer.is_success:
            self.times.append(time.perf_counter() - start)

    async def send_all(self, clients: int, edits: int, seconds: float, picture: bytes, fields: dict[str, str]) -> None:
        """Send edits by several clients at once, each one after another."""
        end = time.perf_counter() + seconds
        numbers = iter(range(edits))

        async def work() -> None:
            for _ in numbers:
                if time.perf_counter() > end:
                    return
                await self.send(picture, {**fields, "seed": str(self.statuses.total())})

        await asyncio.gather(*(work() for _ in range(clients)))


async def measure(service: Served, plan: Plan, picture: bytes) -> dict[str, Any]:
    """Return the figures of the study.

    Args:
        service: what is measured.
        plan: how much is sent.
        picture: a file of what the edits edit.

    Raises:
        InputError: none of the edits of some clients is done.
    """
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.address, timeout=600, limits=limits, trust_env=False) as http:
        await Clients(http).send_all(1, 3, 60, picture, EDIT)  # to warm up
        rounds = [await _round(http, clients, plan, picture) for clients in plan.concurrency]
        found: dict[str, Any] = {"plan": asdict(plan), "rounds": [asdict(each) for each in rounds]}
        found["throughput_gain"] = max(each.per_second for each in rounds) / rounds[0].per_second
        found["memory"] = await _memory(http, service, plan, picture)
        found["large"] = await _large(http, service, plan)
        found["fuzz"] = await _fuzz(http, plan, Image.open(io.BytesIO(picture)))
    return found


async def _round(http: httpx.AsyncClient, clients: int, plan: Plan, picture: bytes) -> Round:
    sent = Clients(http)
    start = time.perf_counter()
    async with _health(http) as health:
        await sent.send_all(clients, plan.edits, plan.seconds, picture, EDIT)
    seconds = time.perf_counter() - start
    if not sent.times:
        raise InputError(f"iedit serve: edits of {clients} clients: answers {counts(sent.statuses)}, none is 200")
    return Round(
        clients=clients,
        seconds=seconds,
        statuses=dict(sent.statuses),
        p50=float(np.percentile(sent.times, 50)),
        p99=float(np.percentile(sent.times, 99)),
        per_second=len(sent.times) / seconds,
        health_p99=float(np.percentile(health, 99)),
    )


@asynccontextmanager
async def _health(http: httpx.AsyncClient) -> AsyncIterator[list[float]]:
    """Yield the seconds of the answers of /health, which is asked all the time within the block."""
    times: list[float] = []

    async def ask() -> None:
        while True:
            start = time.perf_counter()
            (await http.get("/health")).raise_for_status()
            times.append(time.perf_counter() - start)
            await asyncio.sleep(HEALTH_EVERY)

    asking = asyncio.create_task(ask())
    try:
        yield times
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking  # an answer that was none fails the study


async def _memory(http: httpx.AsyncClient, service: Served, plan: Plan, picture: bytes) -> dict[str, Any]:
    """Return the megabytes of the service after the first tenth of many cheap edits, and after all of them."""
    sent = Clients(http)
    await sent.send_all(16, plan.cheap // 10, 300, picture, CHEAP)
    start = service.memory()
    await sent.send_all(16, plan.cheap - plan.cheap // 10, 300, picture, CHEAP)
    return {"start": start, "end": service.memory(), "statuses": dict(sent.statuses)}


async def _large(http: httpx.AsyncClient, service: Served, plan: Plan) -> dict[str, Any]:
    """Return what several large photographs at once are answered, and the megabytes that the service takes at most."""
    photograph = await asyncio.to_thread(_photograph, plan.seed)
    sent, peak = Clients(http), service.memory()
    sending = asyncio.create_task(sent.send_all(plan.large, plan.large, 60, photograph, CHEAP))
    while not sending.done():
        await asyncio.wait([sending], timeout=0.1)
        peak = max(peak, service.memory())
    return {"statuses": dict(sent.statuses), "peak": peak}


def _photograph(seed: int) -> bytes:
    """Return a file of SIDE × SIDE pixels that is about as large as one of a photograph."""
    grain = np.random.default_rng(seed).integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grain).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "jpeg", quality=85)
    return buffer.getvalue()


async def _fuzz(http: httpx.AsyncClient, plan: Plan, picture: Image.Image) -> dict[str, Any]:
    """Return how often each status answered the hostile requests."""
    attempts, statuses = draw_attempts(plan.seed, plan.fuzzed, picture), Counter[str]()

    async def work() -> None:
        for attempt in attempts:
            statuses[str(await send(http, attempt) or "not sent")] += 1

    await asyncio.gather(*(work() for _ in range(8)))
    return {"statuses": dict(sorted(statuses.items()))}


def describe(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    return "\n".join([*_table(found["rounds"]), "", *_sentences(found), ""])


def _table(rounds: list[dict[str, Any]]) -> Iterator[str]:
    yield "| Clients | Edits | p50 | p99 | Edits/s | Errors | p99 of /health |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for each in rounds:
        done = each["statuses"].get("200", 0)
        errors = sum(each["statuses"].values()) - done
        times = f"{each['p50']:.2f} s | {each['p99']:.2f} s | {each['per_second']:.2f}"
        yield f"| {each['clients']} | {done} | {times} | {errors} | {1000 * each['health_p99']:.0f} ms |"


def _sentences(found: dict[str, Any]) -> Iterator[str]:
    memory, large, fuzz, plan = found["memory"], found["large"], found["fuzz"]["statuses"], found["plan"]
    yield f"- Edits of many clients, in batches: {found['throughput_gain']:.2f} times as many a second as of one client."
    yield (
        f"- Memory of all processes over {plan['cheap']:,} edits of two steps: {memory['start']:.0f} MB after a tenth of them,"
        f" {memory['end']:.0f} MB at the end; answers {counts(memory['statuses'])}."
    )
    answers = counts(large["statuses"])
    yield f"- {plan['large']} pictures of 49 megapixels at once: answers {answers}; {large['peak']:.0f} MB at most."
    yield f"- {plan['fuzzed']:,} hostile requests: {fuzz.get('500', 0)} answers of 500; all answers: {counts(fuzz)}."


def study(model: str, plan: Plan, picture: Path, to: Path) -> dict[str, Any]:
    """Write ``serving.json`` and ``serving.md`` to a folder, and return the figures.

    Raises:
        InputError: the model cannot be served, or edits nothing.
    """
    with served(model) as service:
        found = asyncio.run(measure(service, plan, picture.read_bytes()))
    write_json(to / "serving.json", found)
    write_text(to / "serving.md", describe(found))
    print(describe(found))
    return found


def main() -> None:
    """Study the model that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m stages.studies.load", description="Measure iedit serve under load.")
    parser.add_argument("--model", default="models/iedit", help="as for iedit serve (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="for each number of clients (default: %(default)s)")
    options = parser.parse_args()

    try:
        found = study(options.model, Plan(seconds=options.seconds), REFERENCE / "samples" / "source.png", REPORTS)
    except InputError as error:
        sys.exit(f"error: {error}")
    if broken := broken_promises(found):
        sys.exit(f"error: iedit serve: {'; '.join(broken)}")


if __name__ == "__main__":
    main()
