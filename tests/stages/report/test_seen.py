"""Which pictures are new, from real corpora, and when too many of them are refused."""

import pytest

from stages.core.errors import InputError
from stages.core.paths import SEEN
from stages.ingest import ingest
from stages.report import seen as module
from stages.report.seen import FEW, New, Seen, count_new, find_refused, keep_seen, look, read_seen
from tests.support.samples import encoded, noise
from tests.support.sources import params_for, refused, write_folder

Files = dict[str, bytes]

pytestmark = pytest.mark.usefixtures("workplace")


def good(*seeds: int) -> Files:
    return {f"{seed:03}.png": encoded(noise(seed, 16)) for seed in seeds}


def bad(*numbers: int) -> Files:
    return {f"{number:03}.png": b"no picture %d" % number for number in numbers}


def look_at(files: Files, **changes: object) -> Seen:
    """Ingest these files as a folder, and return what was seen."""
    source = write_folder([(name, "a text", data) for name, data in files.items()])
    ingest(params_for(source, size=16, **changes))
    return look()


def test_bad_pictures_in_the_place_of_good_ones_are_new():
    """As many come as go, so the source has not grown."""
    before = look_at(good(*range(30)))
    new = count_new(look_at(good(*range(5)) | bad(*range(5, 30))), before)
    assert new == New(pictures=25, refused=25, every=1)
    line = "ingest.max_refused = 0.2: of 25 pictures that came since an earlier night 25 were refused"
    assert find_refused(new, 0.2) == line


def test_pictures_that_move_or_go_are_not_new():
    files = good(*range(6)) | bad(*range(6, 9))
    before = look_at(files)
    moved = {f"moved-{name}": data for name, data in files.items()}
    after = look_at(moved)
    assert {name for name in refused() if name.startswith("moved-")} == {f"moved-{name}" for name in bad(*range(6, 9))}
    assert count_new(after, before) == New(pictures=0, refused=0, every=1)
    assert count_new(look_at(good(0)), before) == New(pictures=0, refused=0, every=1)
    assert count_new(look_at(files | bad(7, 10) | good(11)), before) == New(pictures=2, refused=1, every=1)


def test_copies_count_as_often_as_they_are_there():
    """Failed downloads often have the same bytes."""
    before = look_at(good(0, 1))
    copies = {f"copy{number:02}.png": b"not found" for number in range(20)}
    assert count_new(look_at(good(0, 1) | copies), before) == New(pictures=20, refused=20, every=1)


def test_a_file_that_is_missing_is_known_by_its_name():
    files: dict = good(0, 1) | {"gone.png": None}
    before = look_at(files)
    assert len(before.refused) == 1
    assert count_new(look_at(files), before) == New(pictures=0, refused=0, every=1)


def test_what_other_settings_refuse_is_not_new():
    before = look_at(good(*range(4)), min_side=16)
    assert count_new(look_at(good(*range(4)) | {"small.png": encoded(noise(9, 8))}, min_side=8), before) is None
    assert count_new(before, None) is None
    assert find_refused(None, 0.2) is None


@pytest.mark.parametrize(("pictures", "refused", "stops"), [(19, 19, False), (20, 20, True), (100, 20, False), (100, 21, True)])
def test_a_share_above_the_limit_stops_once_enough_are_new(pictures, refused, stops):
    assert (find_refused(New(pictures, refused, 1), 0.2) is not None) is stops


def test_of_a_large_source_a_part_is_held(monkeypatch):
    whole = look_at(good(*range(40)) | bad(*range(40, 60)))
    monkeypatch.setattr(module, "HELD", 20)
    part = look()
    assert part.every == 4
    assert part.kept == [digest for digest in whole.kept if digest % 4 == 0]
    assert part.refused == [digest for digest in whole.refused if digest % 4 == 0]
    assert count_new(part, whole) == New(pictures=0, refused=0, every=4)
    none = part.model_copy(update={"kept": [], "refused": []})
    assert count_new(whole, none) == New(len(part.kept) + len(part.refused), len(part.refused), 4)
    line = "ingest.max_refused = 0.2: of 100 pictures that came since an earlier night 40 were refused"
    assert find_refused(New(pictures=25, refused=10, every=4), 0.2) == line
    assert find_refused(New(pictures=FEW - 1, refused=FEW - 1, every=4), 0.2) is None


def test_what_was_seen_is_kept_and_damage_is_named():
    assert read_seen() is None
    seen = look_at(good(0, 1) | bad(2))
    keep_seen(seen)
    assert read_seen() == seen
    SEEN.write_bytes(SEEN.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"^logs/seen\.json: damaged; remove it, after which all pictures .* count as seen$"):
        read_seen()
