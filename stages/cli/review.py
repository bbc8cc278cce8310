"""``iedit review``: pages on which people judge pairs and versions, and what their judgements say."""

import argparse
import os
from typing import TYPE_CHECKING

from stages.common.own_folder import own_folder
from stages.common.ports import try_port
from stages.core.errors import InputError
from stages.core.params import Params
from stages.core.params_file import read_params
from stages.core.paths import DECISIONS

if TYPE_CHECKING:
    import gradio as gr

MOST_NAME = 500  # characters that a decision and an answer hold
PREFIX = "iedit-review-"  # of the folder for what Gradio keeps


def review(options: argparse.Namespace) -> None:
    """Serve the page that the options name, or print a result.

    Raises:
        InputError: there is nothing to review, an option does not fit, or the port is in use.
    """
    if len(options.reviewer) > MOST_NAME:
        raise InputError(f"--reviewer: has {len(options.reviewer):,} characters, allowed are {MOST_NAME}")
    if not options.table and not options.result:
        _check_port(options.port)
    params = read_params()
    if options.table:
        from stages.review.agreement import agreement_lines

        for line in agreement_lines(DECISIONS, params):
            print(line)
        return
    with own_folder(PREFIX) as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read when Gradio is imported
        if options.compare or options.result:
            _compare(params, options)
        else:
            from stages.review.pair_page import open_pair_page

            _serve(open_pair_page(params, options.by, options.reviewer), options.port)


def _compare(params: Params, options: argparse.Namespace) -> None:
    """Let people compare two versions, then print and log what they prefer."""
    from stages.comparison.standard import current_standard
    from stages.review.comparing import count_preferences
    from stages.review.contenders import answers_file, find_contender, in_order
    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.preferences import QUESTIONS, log_preferences

    one, other = (find_contender(name) for name in options.compare or options.result)
    if one.identity == other.identity:
        raise InputError(f"{one.name} and {other.name} are the same")
    first, second = in_order(one, other)
    evaluation_set = current_standard(params).evaluation_set
    file = answers_file(first, second, evaluation_set)
    if options.compare:
        from stages.review.compare_page import open_compare_page

        _serve(open_compare_page(params, (first, second), file, options.reviewer), options.port)
    found = count_preferences(file)
    for question, text in QUESTIONS.items():
        shown = found[question] if one is first else found[question].reversed()
        print(f"{text:<32} {one.name} over {other.name}: {shown}")
    if first.version is not None and second.version is not None and file.is_file():
        with store_errors_in_one_line():
            log_preferences(first.version, second.version, found, file, evaluation_set)


def _serve(page: "gr.Blocks", port: int) -> None:
    from stages.review.look import serve

    try:
        serve(page, port)
    except OSError as error:
        raise InputError(f"--port {port}: has been taken meanwhile; choose another one") from error


def _check_port(port: int) -> None:
    """Check that a page could listen, before seconds of imports and minutes of edits.

    Raises:
        InputError: another program listens there, or it is no port that may be used.
    """
    try:
        try_port("127.0.0.1", port)
    except OverflowError as error:
        raise InputError(f"--port {port}: must be at least 0 and at most 65535") from error
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror}; choose another one") from error
