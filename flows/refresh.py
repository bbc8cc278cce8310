"""The nightly run: take in new images, bring every stage up to date, promote a better model, push the data, prune."""

from prefect import flow
from pydantic import PositiveInt

from flows.support.corpus import grow_corpus
from flows.support.dag import stages_in_order
from flows.support.registry import champion_version, publish_decision
from flows.support.tasks import prune, publish_results, push_data, run_stages

LIMIT_SECONDS = 23 * 3600  # the next night's run waits for this one


@flow(timeout_seconds=LIMIT_SECONDS)
def refresh(images: PositiveInt | None = None, keep: PositiveInt = 10) -> None:
    """Take in new images, bring every stage up to date, publish who is champion, push the data, and prune.

    Args:
        images: the number of images for the embedded world to have; None reads the source as it is.
        keep: how many of the newest versions stay in the registry, besides those in use.
    """
    if images is not None:
        grow_corpus(images)
    champion = champion_version()
    forced = ["ingest"]  # DVC does not see that a folder of images has grown
    if champion is None:
        forced.append("evaluate")  # registers the model, even one that is up to date but registered elsewhere
    run_stages(stages_in_order(), forced=forced)
    publish_results()
    publish_decision(champion)
    push_data()
    prune(keep)
