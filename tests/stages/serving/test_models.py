"""Loaded models: real processes that speak as models do, by reference, beside each other, and after a death."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.tracking import MlflowClient

from stages.core.errors import InputError
from stages.core.files import NoRoomError
from stages.serving import catalogue
from stages.serving import models as module
from stages.serving.calls import DEFAULT, BusyError, ModelUnavailableError, UnknownModelError
from stages.serving.catalogue import FolderCatalogue, Source, open_catalogue
from stages.serving.models import Models
from tests.support.serving import settled

Work = Callable[[Models], Coroutine[Any, Any, Any]]


@pytest.fixture
def run(shelf, tmp_path, monkeypatch) -> Callable[..., Any]:
    """Do some work with models whose default is loaded, and return its result; look at the catalogue all the time."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    def do(work: Work, **settings: float) -> Any:
        async def main() -> Any:
            models = Models(shelf, tmp_path, **({"interval": 0.05} | settings))
            await models.start()
            try:
                await settled(lambda: models.default is not None)
                return await work(models)
            finally:
                await models.stop()

        return asyncio.run(main())

    return do


async def taken(models: Models, reference: str = DEFAULT) -> str:
    """The name of the model that a reference gets."""
    async with models.lease(reference) as lease:
        return lease.model.name


def pid_of(models: Models, name: str) -> int:
    return next(each.process._process.pid for each in models._loaded.values() if each.source.name == name)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_alias_that_moves_is_followed_between_two_requests(run, shelf):
    shelf.add("two")

    async def work(models: Models) -> list[str]:
        async with models.lease(DEFAULT) as old:
            shelf.default = "two"
            await settled(lambda: models.default.name == "two")
            answer = await old.process.ask("/terms", b'{"words": ["a"]}')  # what is at work stays with the old one
            return [old.model.name, str(answer.status_code), await taken(models)]

    assert run(work) == ["one", "200", "two"]


def test_a_default_that_cannot_be_loaded_leaves_the_old_one(run, shelf, caplog):
    shelf.add("two").joinpath("broken").touch()

    async def work(models: Models) -> str:
        shelf.default = "two"
        await settled(lambda: "could not be loaded; see the log" in caplog.text)
        return await taken(models)

    assert run(work) == "one"


def test_a_broken_model_is_unavailable_to_who_asks_for_it(run, shelf):
    shelf.add("two").joinpath("broken").touch()
    with pytest.raises(ModelUnavailableError, match="could not be loaded; see the log"):
        run(lambda models: taken(models, "two"))


@pytest.mark.parametrize("error", [NoRoomError("/a/path: No space left on device"), InputError("/a/path: no such folder")])
def test_a_model_that_cannot_be_fetched_is_unavailable(run, shelf, monkeypatch, error):
    find = shelf.find

    def fail(reference: str) -> Source:
        if reference == "two":
            raise error
        return find(reference)

    monkeypatch.setattr(shelf, "find", fail)
    with pytest.raises(ModelUnavailableError, match="model two cannot be loaded; see the log"):
        run(lambda models: taken(models, "two"))


def test_requests_for_one_model_load_it_once(run, shelf):
    shelf.add("two")

    async def work(models: Models) -> int:
        assert await asyncio.gather(*(taken(models, "two") for _ in range(5))) == ["two"] * 5
        return len(models._loaded)

    assert run(work) == 2


def test_the_model_unused_for_longest_makes_room(run, shelf):
    for name in ("two", "three", "four"):
        shelf.add(name)

    async def work(models: Models) -> list[str]:
        for name in ("two", "three", "two", "four"):
            await taken(models, name)
        return [loaded.source.name for loaded in models._loaded.values()]

    assert run(work) == ["one", "two", "four"]


def test_models_at_work_do_not_make_room(run, shelf):
    for name in ("two", "three", "four"):
        shelf.add(name)

    async def work(models: Models) -> None:
        async with models.lease("two"), models.lease("three"):
            with pytest.raises(BusyError, match="too many models are at work"):
                await taken(models, "four")
        assert await taken(models, "four") == "four"

    run(work)


def test_an_alias_moves_even_if_all_models_are_at_work(run, shelf, caplog):
    for name in ("two", "three", "four", "five"):
        shelf.add(name)

    async def work(models: Models) -> None:
        async with models.lease(DEFAULT), models.lease("two"), models.lease("three"):
            shelf.default = "four"
            await settled(lambda: models.default.name == "four")
            shelf.default = "five"  # one too many, not two
            await settled(lambda: "too many models are at work" in caplog.text)
            assert len(models._loaded) == module.MOST + 1
            assert await taken(models) == "four"
        await settled(lambda: models.default.name == "five" and len(models._loaded) == module.MOST)

    run(work)


def test_a_model_that_nobody_asks_for_is_ended(run, shelf):
    shelf.add("two")

    async def work(models: Models) -> None:
        await taken(models, "two")
        pid = pid_of(models, "two")
        await settled(lambda: not is_alive(pid))
        assert await taken(models) == "one"

    run(work, idle=0.2)


def test_a_process_that_dies_is_started_again(run):
    async def work(models: Models) -> None:
        pid = pid_of(models, "one")
        os.kill(pid, signal.SIGKILL)
        await settled(lambda: models.default is None)
        with pytest.raises(ModelUnavailableError, match="is being loaded"):
            await taken(models)
        await settled(lambda: models.default is not None)
        assert pid_of(models, "one") != pid

    run(work, interval=600)  # the death itself wakes it up


def test_a_default_that_dies_is_started_again_without_the_registry(run, shelf, monkeypatch):
    def fail() -> list[str]:
        raise InputError("the registry does not answer")

    async def work(models: Models) -> None:
        monkeypatch.setattr(shelf, "references", fail)
        pid = pid_of(models, "one")
        os.kill(pid, signal.SIGKILL)
        await settled(lambda: models.default is not None and pid_of(models, "one") != pid)

    run(work)


def test_a_further_model_that_died_is_loaded_again(run, shelf):
    shelf.add("two")

    async def work(models: Models) -> None:
        await taken(models, "two")
        os.kill(pid_of(models, "two"), signal.SIGKILL)
        await settled(lambda: not models._loaded[shelf.sources["two"].folder].process.is_alive)
        assert await taken(models, "two") == "two"

    run(work)


def test_stopping_ends_every_process_and_removes_its_socket(run, shelf, tmp_path):
    shelf.add("two")

    async def work(models: Models) -> list[int]:
        await taken(models, "two")
        return [pid_of(models, name) for name in ("one", "two")]

    assert not any(map(is_alive, run(work)))
    assert not any(path.is_socket() for path in tmp_path.iterdir())


def test_models_are_listed_the_default_first(run, shelf):
    shelf.add("two")

    async def work(models: Models) -> list[tuple[str, object]]:
        return [(each.reference, each.sampling.get("steps")) for each in models.versions()]

    assert run(work) == [("one", 4), ("two", None)]


def test_a_folder_is_known_by_its_name_only(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    catalogue = open_catalogue(str(folder))
    assert isinstance(catalogue, FolderCatalogue)
    assert catalogue.references() == ["mine", "base"]
    assert catalogue.find("mine") == catalogue.find(DEFAULT)
    for reference in (str(folder), "../mine", "champion", "", "3"):
        with pytest.raises(UnknownModelError):
            catalogue.find(reference)


def test_a_store_that_does_not_answer_lacks_no_version(champion, monkeypatch):
    def fail(*_: object) -> None:
        raise MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", fail)
    with pytest.raises(InputError, match="database is locked") as error:
        open_catalogue("models:/iedit@champion").find("champion")
    assert not isinstance(error.value, UnknownModelError)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither a folder nor models:/NAME@ALIAS"):
        open_catalogue(str(tmp_path / "none"))


def test_versions_of_the_registry_are_found_by_alias_and_number(champion):
    catalogue = open_catalogue("models:/iedit@champion")
    assert catalogue.references() == ["champion", "1", "base"]
    found = [catalogue.find(reference) for reference in (DEFAULT, "champion", "1")]
    assert [source.reference for source in found] == ["champion", "champion", "1"]
    assert {(source.name, source.version, source.folder, source.code) for source in found} == {
        ("iedit", "1", found[0].folder, found[0].folder / "code")
    }
    for reference in ("challenger", "2", "-1", "9" * 30, "9" * 5000, "models:/iedit/1", str(found[0].folder)):
        with pytest.raises(UnknownModelError):
            catalogue.find(reference)


def test_a_version_of_older_code_is_none_of_the_service(champion, monkeypatch):
    monkeypatch.setattr(catalogue, "MODULE", "stages.serving.made_later")
    with pytest.raises(UnknownModelError, match="model = 1: its code is older than the service"):
        open_catalogue("models:/iedit@champion").find("1")


@pytest.mark.parametrize("uri", ["models:/iedit", "models:/", "models:/iedit@a@b"])
def test_what_names_no_version_is_refused(champion, uri):
    with pytest.raises(InputError, match="names no version"):
        open_catalogue(uri)
