"""Which version is the champion, which ones were before, and why.

Every promotion and rollback is an event. Events are tags of the registered model and never change. The alias ``champion``
names the current one; MLflow overwrites it in one transaction, so that a reader finds either the old one or the new one.

An event is written before the alias, so that a kill in between leaves the former champion in its place. The version's own
description comes last, so that no version says it was promoted before it is. When two promotions happen at once, both are
recorded, and the one that sets the alias last wins.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from stages.core.errors import InputError, first_line
from stages.tracking.registry import CHALLENGER, CHAMPION, NAME, set_alias, version_by_alias
from stages.tracking.store import connect

DECISION = "iedit.decision"  # a tag of a version: what was decided; its description adds the reason
GROUNDS = "iedit.decision."  # prefix of a version's tags with the numbers behind the decision
EVENT = "iedit.event."  # prefix of the event tags; the time follows, so that they sort by time


@dataclass(frozen=True, kw_only=True)
class Event:
    """The moment when a version became champion."""

    id: str
    version: str
    how: Literal["promoted", "rolled back", "found"]  # "found": made champion by other means than this project's
    former: str | None  # the champion before
    why: str
    back_to: str | None  # the id of the event that a rollback returns to

    @property
    def moment(self) -> int:
        """The time of the event, in nanoseconds since the epoch."""
        return int(self.id.partition("-")[0])

    @property
    def when(self) -> datetime:
        """The time of the event, UTC."""
        return datetime.fromtimestamp(self.moment / 1e9, UTC)


def read_events(client: MlflowClient) -> list[Event]:
    """Return all events, oldest first."""
    try:
        tags: Mapping[str, str] = client.get_registered_model(NAME).tags
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return []
        raise
    names = sorted(name for name in tags if name.startswith(EVENT))
    return [Event(id=name.removeprefix(EVENT), **json.loads(tags[name])) for name in names]


def champion_since(client: MlflowClient) -> tuple[str, datetime] | None:
    """Return the champion's version and when it became champion, if there is a champion."""
    version, event = _record_champion(client)
    return None if version is None or event is None else (version, event.when)


def promote(version: str, why: str) -> Event:
    """Make a version the champion.

    Raises:
        InputError: there is no such version, or it is the champion already.
    """
    client = connect(create=False)
    former, last = _record_champion(client)
    if former == version:
        raise InputError(f"models:/{NAME}/{version} is the champion already")
    back_to = None if last is None else last.id
    event = _record_event(client, version=version, how="promoted", former=former, why=why, back_to=back_to)
    if version_by_alias(client, CHALLENGER) == version:
        client.delete_registered_model_alias(NAME, CHALLENGER)
    describe(client, version, "promoted", why)
    return event


def roll_back(why: str) -> Event:
    """Make the previous champion the champion again; the next rollback returns to the one before that.

    Raises:
        InputError: there is no champion, or no previous one.
    """
    client = connect(create=False)
    former, last = _record_champion(client)
    if former is None or last is None:
        raise InputError("there is no champion to roll back from")
    target = rollback_target(client)
    if target is None:
        raise InputError(f"version {former} is the first champion: there is none before it to roll back to")
    event = _record_event(client, version=target.version, how="rolled back", former=former, why=why, back_to=target.back_to)
    describe(client, former, "rolled back", f"{why}, to version {target.version}")
    return event


def rollback_target(client: MlflowClient) -> Event | None:
    """Return the event that a rollback would return to, or None without a champion or one before it; nothing is written."""
    champion, events = version_by_alias(client, CHAMPION), read_events(client)
    last = _event_of(champion, events)
    if last is not None:
        return next((event for event in events if event.id == last.back_to), None)
    return None if champion is None else _newest(events)  # as the event will say that it gets


def describe(client: MlflowClient, version: str, decision: str, why: str) -> None:
    """Write on a version what was decided and why, replacing an earlier decision."""
    client.set_model_version_tag(NAME, version, DECISION, decision)
    client.update_model_version(NAME, version, f"{decision}: {why}")


def forget_grounds(client: MlflowClient, version: str) -> None:
    """Remove the numbers of an earlier decision from a version."""
    for name in client.get_model_version(NAME, version).tags:
        if name.startswith(GROUNDS):
            client.delete_model_version_tag(NAME, version, name)


def describe_champion(client: MlflowClient) -> None:
    """Write on the champion how it became champion, if a kill prevented that at the time."""
    version = version_by_alias(client, CHAMPION)
    event = _event_of(version, read_events(client))
    if version is not None and event is not None and event.how == "promoted":
        made = client.get_model_version(NAME, version)
        if made.tags.get(DECISION) != "promoted":
            describe(client, version, "promoted", event.why)


def find_rollback(client: MlflowClient, version: str) -> Event | None:
    """Return the rollback that took a version down, unless the version has become champion again since."""
    events = [event for event in read_events(client) if version in (event.version, event.former)]
    return next((event for event in events[-1:] if event.how == "rolled back" and event.former == version), None)


def _newest(events: Sequence[Event]) -> Event | None:
    return events[-1] if events else None


def _event_of(champion: str | None, events: Sequence[Event]) -> Event | None:
    """Return the event that made a version champion, which one that others made so may not have yet."""
    return _newest([event for event in events if event.version == champion])


def _record_champion(client: MlflowClient) -> tuple[str | None, Event | None]:
    """Return the champion and the event that made it so; one made by other means gets its event now, after all others."""
    champion, events = version_by_alias(client, CHAMPION), read_events(client)
    last = _event_of(champion, events)
    if champion is not None and last is None:
        before = _newest(events)
        former, back_to = (None, None) if before is None else (before.version, before.id)
        last = _record_event(client, version=champion, how="found", former=former, why="was champion already", back_to=back_to)
    return champion, last


def _record_event(client: MlflowClient, **facts: str | None) -> Event:
    """Write an event, then move the alias to its version; a "found" event has its alias already.

    It is later than all others, also where the clock was set back: a rollback must not come before what it takes back.
    """
    moment = max([time.time_ns(), *(event.moment + 1 for event in read_events(client))])
    event = Event(id=f"{moment:020d}-{uuid4().hex[:8]}", **facts)  # type: ignore[arg-type]
    content = {name: value for name, value in asdict(event).items() if name != "id"}
    try:
        client.get_model_version(NAME, event.version)
        client.set_registered_model_tag(NAME, EVENT + event.id, json.dumps(content, ensure_ascii=False))
        if event.how != "found":
            set_alias(client, CHAMPION, event.version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(f"models:/{NAME}/{event.version}: {first_line(error)}") from error
    return event
