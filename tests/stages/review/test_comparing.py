"""Comparing two versions blind: sides, answers, and what they add up to."""

from types import SimpleNamespace

import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.review.comparing import Comparing, Turn, count_preferences
from stages.review.look import serve
from tests.support.browser import needs_browser, open_page

CASES = [
    SimpleNamespace(key=f"{n}", source_caption="a dog", edit_prompt="a cat", source=Image.new("RGB", (8, 8))) for n in range(40)
]
COLOURS = ("red", "blue")  # of the first version's and the second version's edits
EDITS = tuple([Image.new("RGB", (8, 8), colour) for _ in CASES] for colour in COLOURS)


def comparing(folder, tester="Ann", seed=0, cases=40) -> Comparing:
    return Comparing(CASES[:cases], EDITS, folder / "answers.jsonl", tester=tester, seed=seed)


def prefer(each: Comparing, who: str | None) -> None:
    """Answer the next question for one of the two, wherever it stands."""
    turn = each.next_turn()
    sides = {each.left(turn.case): "left"}
    each.answer(turn, None if who is None else sides.get(who, "right"))


def test_sides_and_order_are_drawn_and_stay(tmp_path):
    first = comparing(tmp_path)
    sides = [first.left(case) for case in range(40)]
    assert 10 < sides.count("first") < 30
    assert [comparing(tmp_path).left(case) for case in range(40)] == sides
    assert [comparing(tmp_path, tester="Ben").left(case) for case in range(40)] != sides
    assert [comparing(tmp_path, seed=1).left(case) for case in range(40)] != sides
    for case in range(40):
        colours = [picture.getpixel((0, 0)) for picture in first.pictures(case)]
        red, blue = (255, 0, 0), (0, 0, 255)
        assert colours == ([red, blue] if sides[case] == "first" else [blue, red])


def test_every_case_gets_both_questions(tmp_path):
    each = comparing(tmp_path)
    asked = []
    while (turn := each.next_turn()) is not None:
        asked.append(turn)
        each.answer(turn, "left")
    assert len(set(asked)) == 80 == each.progress()[0]
    assert [turn.question for turn in asked[:4]] == ["follows", "keeps"] * 2
    assert all(one.case == other.case for one, other in zip(asked[::2], asked[1::2], strict=True))


def test_answers_count_for_the_version_and_not_the_side(tmp_path):
    ann = comparing(tmp_path)
    for who in ("first", "second", "first", None, "first"):  # follows, keeps, follows, keeps, follows
        prefer(ann, who)
    found = count_preferences(tmp_path / "answers.jsonl")
    assert vars(found["follows"]) == {"preferred": 3, "decided": 3, "cases": 3}
    assert vars(found["keeps"]) == {"preferred": 0, "decided": 1, "cases": 2}


@pytest.mark.parametrize(
    ("answers", "counted"),
    [
        (["first"] * 5, (1, 1)),
        (["first", "second", "second"], (0, 1)),
        (["first", None, None], (1, 1)),
        (["first", "second", None], (0, 0)),
        ([None], (0, 0)),
    ],
)
def test_a_case_has_one_verdict_however_many_testers(tmp_path, answers, counted):
    for number, who in enumerate(answers):
        prefer(comparing(tmp_path, tester=f"tester {number}", cases=1), who)
    found = count_preferences(tmp_path / "answers.jsonl")["follows"]
    assert (found.preferred, found.decided, found.cases) == (*counted, 1)


def test_an_answer_taken_back_is_asked_again(tmp_path):
    each = comparing(tmp_path)
    turn = each.next_turn()
    each.answer(turn, "left")
    assert each.next_turn() == Turn(turn.case, "keeps")
    each.undo(turn)
    assert each.next_turn() == turn
    assert count_preferences(tmp_path / "answers.jsonl")["follows"].cases == 0
    assert comparing(tmp_path).next_turn() == turn


def test_a_question_is_answered_once_by_who_sees_it(tmp_path):
    from stages.review.compare_page import ComparePage

    page = ComparePage(comparing=comparing(tmp_path))
    first, *_ = page.start()
    second, *_ = page.answer("left", first, [])
    for number in (first, None, -1, 80):  # a key pressed twice, and what the page never sends
        assert page.answer("right", number, [])[0] == second != first
    assert page.comparing.progress()[0] == 1


def test_the_next_page_goes_on_where_the_last_one_ended(tmp_path):
    each = comparing(tmp_path)
    for _ in range(5):
        each.answer(each.next_turn(), "left")
    assert comparing(tmp_path).next_turn() == each.next_turn()
    assert comparing(tmp_path, tester="Ben").progress() == (0, 80)


def test_a_damaged_file_is_reported(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"case": "1"')
    with pytest.raises(InputError, match="line 1 is cut off or damaged"):
        comparing(tmp_path)


@needs_browser
def test_arrow_keys_answer_and_nothing_names_the_versions(tmp_path):
    from stages.review.compare_page import compare_page

    each = comparing(tmp_path, cases=2)
    blocks = compare_page(each)
    address = serve(blocks, 0, wait=False)
    try:
        with open_page(address) as page:
            page.wait_for_selector(".question")
            for number, key in enumerate(["ArrowLeft", "ArrowDown", "ArrowRight", "u", "ArrowRight", "ArrowLeft"]):
                answered = number if number < 3 else number - 2 if number > 3 else 3
                page.wait_for_function(f"document.querySelector('.status').innerText.startsWith('{answered} of 4')")
                assert "first" not in page.content().split("<body", 1)[1].split("<script", 1)[0]
                page.keyboard.press(key)
            page.wait_for_function("document.querySelector('.prompt').innerText.startsWith('Everything is answered')")
    finally:
        blocks.close()
    found = count_preferences(tmp_path / "answers.jsonl")
    assert (found["follows"].decided, found["keeps"].decided, found["keeps"].cases) == (2, 1, 2)
