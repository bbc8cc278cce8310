"""Stage mutate: the edits it writes, why captions are dropped, and what a second run remakes."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import InputError
from stages.core.files import file_digest, read_json, write_json
from stages.core.params import LanguageModel, Params
from stages.core.params_file import read_params
from stages.core.paths import CAPTIONS, EDITS
from stages.core.shards import SERIAL, StageCounts, pass_on_counts, read_counts
from stages.corpus.world import nouns
from stages.language.language_model import Refused
from stages.language.mutation import Dropped, Mutation
from stages.mutate import mutate
from stages.pairing.columns import EDITS_TABLE
from tests.support import ROOT
from tests.support.endpoint import completion, serving

VOCABULARY = ROOT / "nano" / "vocabulary.txt"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project folder with two shards of captions and the dictionary."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nltk").symlink_to(ROOT / "data" / "nltk")
    captions = [f"a red {noun} on the beach" for noun in list(nouns())[:10]] + ["a woman", ""]
    for name, part in (("00000", captions[:6]), ("00001", captions[6:])):
        path = CAPTIONS / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = [f"{name}-{index}" for index in range(len(part))]
        pq.write_table(pa.table({"key": keys, "caption": part}), path)
        sidecar = {"fingerprint": "", "settings": "", "digests": [], "done": len(part), "dropped": {}, "notes": []}
        write_json(path.with_name(f"{name}.done.json"), sidecar)
    pass_on_counts(StageCounts(stage="caption", dropped=Counter({"empty caption": 2})), CAPTIONS)
    return tmp_path


@pytest.fixture(scope="module")
def params() -> Params:
    params = read_params(ROOT / "params.yaml")
    return params.model_copy(update={"execution": SERIAL})  # the dictionary is read once for all tests


def with_vocabulary(params: Params, path: Path | None, **changes: object) -> Params:
    section = params.mutate.model_copy(update={"vocabulary": None if path is None else str(path)} | changes)
    return params.model_copy(update={"mutate": section})


def test_only_captions_of_blip_are_mended(folder, params):
    path = CAPTIONS / "00000.parquet"
    pq.write_table(pa.table({"key": ["a"], "caption": ["there is a red dog on the beach"]}), path)
    found = {}
    for use in ("blip", "given"):
        changed = {"caption": params.caption.model_copy(update={"use": use})}
        mutate(with_vocabulary(params, VOCABULARY).model_copy(update=changed))
        found[use] = pq.read_table(EDITS / "00000.parquet")["caption"].to_pylist()
    assert found == {"blip": ["a red dog on the beach"], "given": ["there is a red dog on the beach"]}


def test_edits_are_written_once(folder, params):
    ours = with_vocabulary(params, VOCABULARY)
    mutate(ours)
    paths = sorted(EDITS.glob("*.parquet"))
    before = [file_digest(path) for path in paths]
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    assert table.column_names == [
        *("key", "caption", "edit_prompt", "source_term", "target_term", "relation", "source_diff", "target_diff")
    ]
    assert table.num_rows == 10
    log = read_json(Path("logs/mutate.json"))
    assert (log["done"], log["reused"]) == (10, 0)
    assert log["dropped"] == {"no noun or adjective to change": 1}  # caption counts what it left without words
    assert read_counts(EDITS) == {"caption": {"empty caption": 2}, "mutate": log["dropped"]}

    mutate(ours)
    log = read_json(Path("logs/mutate.json"))
    assert (log["done"], log["reused"], log["shards_reused"]) == (0, 10, 2)
    paths[0].unlink()
    mutate(ours)
    assert read_json(Path("logs/mutate.json"))["shards_done"] == 1
    assert [file_digest(path) for path in paths] == before


NOTHING_TO_DO = """
import json, sys
from pathlib import Path
from stages.core.params_file import read_params
from stages.core.shards import SERIAL
from stages.mutate import mutate
params = read_params(Path(sys.argv[1]))
section = params.mutate.model_copy(update={"vocabulary": None})
mutate(params.model_copy(update={"execution": SERIAL, "mutate": section}))
print(json.dumps([name for name in sys.modules if "." not in name]))
"""


def test_with_nothing_to_do_no_dictionary_is_read(folder, params):
    mutate(with_vocabulary(params, None))
    command = [sys.executable, "-c", NOTHING_TO_DO, str(ROOT / "params.yaml")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    modules = json.loads(done.stdout.splitlines()[-1])
    assert read_json(Path("logs/mutate.json"))["shards_reused"] == 2
    assert {"nltk", "inflect", "textblob", "torch"}.isdisjoint(modules)


def test_habits_of_the_captioner_are_mended_first(folder, params):
    captions = {"a": "arafed dog on the beach", "b": "there is a cat cat on the beach", "c": "a horse"}
    pq.write_table(pa.table({"key": list(captions), "caption": list(captions.values())}), CAPTIONS / "00001.parquet")
    before = file_digest(CAPTIONS / "00001.parquet")
    mutate(with_vocabulary(params, None))
    rows = pq.read_table(EDITS / "00001.parquet").to_pylist()
    mended = {"a": "dog on the beach", "b": "a cat on the beach", "c": "a horse"}
    assert {row["key"]: row["caption"] for row in rows} == mended
    assert all(row["source_term"] in row["caption"].split() for row in rows)
    assert file_digest(CAPTIONS / "00001.parquet") == before


def test_bad_captions_are_dropped_by_reason(folder, params):
    captions = [
        "a red\tcar\x00 on\r\nthe \u202ebeach",
        "a dog on a bed with the cat " * 30,
        "ein Hund auf dem Tisch",
        "C:\\cat.png",
        "\u2028",
        "🐶" * 40,
    ]
    pq.write_table(pa.table({"key": list("abcdef"), "caption": captions}), CAPTIONS / "00001.parquet")
    mutate(with_vocabulary(params, None))
    (row,) = pq.read_table(EDITS / "00001.parquet").to_pylist()
    assert (row["key"], row["caption"]) == ("a", "a red car on the beach")
    assert row["edit_prompt"].startswith("a ")
    assert row["edit_prompt"].endswith(" on the beach")
    assert read_json(EDITS / "00001.done.json")["dropped"] == {
        Dropped.TOO_LONG: 1,
        Dropped.NOT_ENGLISH: 2,
        Dropped.NOTHING_TO_CHANGE: 1,
        Dropped.EMPTY: 1,
    }


def test_a_language_model_chooses_and_its_refusals_are_counted(folder, params):
    captions = {"a": "a dog on a bench", "b": "a cat on a bench", "c": "a horse on a bench"}
    pq.write_table(pa.table({"key": list(captions), "caption": list(captions.values())}), CAPTIONS / "00001.parquet")
    for path in CAPTIONS.glob("00000.*"):
        path.unlink()
    answers = [completion("a rabbit on a bench"), completion("no"), (200, b"nonsense"), completion("a cow on a bench")]
    with serving(*answers) as endpoint:
        model = LanguageModel(url=endpoint.url, model="small", timeout=30.0)
        asking = with_vocabulary(params, None, mutator="llm", llm=model)
        mutate(asking)
        (row,) = pq.read_table(EDITS / "00001.parquet").to_pylist()
        assert (row["edit_prompt"], row["relation"]) == ("a rabbit on a bench", "co-hyponym")
        assert read_json(EDITS / "00001.done.json")["dropped"] == {Refused.NOT_ALLOWED: 1, Refused.MALFORMED: 1}
        assert len(endpoint.asked) == 3
        mutate(with_vocabulary(params, None, mutator="llm", llm=model.model_copy(update={"timeout": 60.0})))
        assert read_json(Path("logs/mutate.json"))["shards_reused"] == 1  # patience decides nothing
        (EDITS / "00001.done.json").unlink()
        (EDITS / "00001.parquet").unlink()
        mutate(asking)
        assert len(endpoint.asked) == 4  # what was no answer is asked again
        assert pq.read_table(EDITS / "00001.parquet").num_rows == 2


def test_without_a_language_model_its_settings_decide_nothing(folder, params):
    mutate(with_vocabulary(params, None))
    mutate(with_vocabulary(params, None, llm=LanguageModel(url="http://127.0.0.1:1/v1", model="small", timeout=1.0)))
    assert read_json(Path("logs/mutate.json"))["shards_reused"] == 2


def test_another_library_version_remakes_edits(folder, params, monkeypatch):
    mutate(params := with_vocabulary(params, VOCABULARY))
    monkeypatch.setattr("stages.core.provenance.version", lambda name: f"another {name}")
    mutate(params)
    assert read_json(Path("logs/mutate.json"))["shards_done"] == 2


def test_a_changed_setting_or_vocabulary_remakes_edits(folder, params):
    words = folder / "words.txt"
    words.write_text("dog\ncat\n")
    mutate(with_vocabulary(params, words))
    mutate(with_vocabulary(params, words, adjective_share=0.25))
    assert read_json(Path("logs/mutate.json"))["shards_done"] == 2
    words.write_text("dog\ncat\nhorse\n")
    mutate(with_vocabulary(params, words, adjective_share=0.25))
    assert read_json(Path("logs/mutate.json"))["shards_done"] == 2


def test_retrieve_reads_the_table_that_mutate_writes():
    assert list(EDITS_TABLE) == ["key", "caption", *(field.name for field in fields(Mutation))]


def test_missing_input_is_an_error(folder, params):
    with pytest.raises(InputError, match=r"mutate.vocabulary = 'none.txt': no such file"):
        mutate(with_vocabulary(params, Path("none.txt")))
    for path in CAPTIONS.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"no .parquet shards"):
        mutate(with_vocabulary(params, VOCABULARY))
    (folder / "data" / "nltk").unlink()
    with pytest.raises(InputError, match="run `make wordnet`"):
        mutate(with_vocabulary(params, VOCABULARY))
