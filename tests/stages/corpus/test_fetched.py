"""What became of URLs, from the statistics of img2dataset's shards."""

import json
from collections import Counter

import pytest

from stages.core.files import write_json
from stages.core.params_ingest import WebDatasetSource
from stages.corpus.fetched import (
    OTHER,
    SHOWN_REASONS,
    STATISTICS,
    Statistics,
    forget_damaged,
    forget_poor,
    gather,
    read_downloads,
)


def test_failures_are_counted_by_kind(tmp_path):
    shards = [
        {"success": 5, "HTTP Error 404: Not Found": 2, "HTTP Error 404: \x1b[2JGone fishing": 1, "a\nb 17 of 20": 1},
        {"success": 1, "HTTP Error 503: Later": 1, "a\nb 3 of 20": 1},
        {"success": 0, "<urlopen error [Errno -2] Name or service not known>": 1, "<urlopen error leads elsewhere>": 2},
    ]
    for number, reasons in enumerate(shards):
        record = {"count": sum(reasons.values()), "successes": reasons["success"], "status_dict": reasons}
        (tmp_path / f"{number:05d}_stats.json").write_text(json.dumps(record))
    found = gather(tmp_path, Counter({"no URL": 3}))
    assert (found.urls, found.pictures, found.left_out) == (15, 6, {"no URL": 3})
    assert found.failed == {
        "HTTP Error 404": 3,
        "a\\nb … of …": 2,
        "leads elsewhere": 2,
        "HTTP Error 503": 1,
        "Name or service not known": 1,
    }


def test_shards_to_be_fetched_again_lose_their_statistics(tmp_path):
    whole = json.dumps({"count": 10, "successes": 2, "status_dict": {"success": 2, "timed out": 8}})
    contents = {
        "0": "",
        "1": whole[:20],
        "2": "{}",
        "3": "[]",
        "4": "\0" * 100,
        "5": whole,
        "6": whole.replace('s": 2', 's": 1'),
    }
    for name, text in contents.items():
        (tmp_path / f"{name}_stats.json").write_text(text)
    forget_damaged(tmp_path)
    assert {path.name[0] for path in tmp_path.iterdir()} == {"5", "6"}
    forget_poor(tmp_path, 0.2)
    assert {path.name[0] for path in tmp_path.iterdir()} == {"5"}


def test_rare_reasons_are_counted_together(tmp_path):
    reasons = {"success": 1} | {f"reason {'x' * n}": 100 - n for n in range(SHOWN_REASONS + 5)}
    record = {"count": sum(reasons.values()), "successes": 1, "status_dict": reasons}
    (tmp_path / "00000_stats.json").write_text(json.dumps(record))
    found = gather(tmp_path, Counter())
    assert len(found.failed) == SHOWN_REASONS + 1
    assert found.failed[OTHER] == sum(100 - n for n in range(SHOWN_REASONS, SHOWN_REASONS + 5))
    assert found.pictures + sum(found.failed.values()) == found.urls


@pytest.mark.parametrize(
    ("folder", "path", "is_found"),
    [
        ("downloads", "downloads/*/*.tar", True),
        ("./downloads", "./downloads/*/*.tar", True),
        ("downloads/", "{here}/downloads/*/*.tar", True),
        ("{here}/downloads", "downloads/a/{{00000..00002}}.tar", True),
        ("downloads", "downloads_of_others/*/*.tar", False),
        ("downloads", "s3://downloads/*/*.tar", False),
    ],
)
def test_downloads_are_found_however_their_folder_is_written(workplace, folder, path, is_found):
    found = Statistics(urls=3, pictures=2, failed={"HTTP Error 404": 1}, left_out={})
    (workplace / "downloads" / "a").mkdir(parents=True)
    write_json(workplace / "downloads" / "a" / STATISTICS, found.model_dump())
    source = WebDatasetSource(kind="webdataset", path=path.format(here=workplace))
    assert read_downloads(source, folder.format(here=workplace)) == (found if is_found else None)
