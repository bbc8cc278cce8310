"""What runs every night: take in what is new, bring all up to date, promote what is better, push the data."""

from prefect import flow
from pydantic import PositiveInt

from flows.support.corpus import grow_corpus
from flows.support.dag import stages_in_order
from flows.support.registry import champion_version, publish_decision
from flows.support.tasks import publish_results, push_data, run_stages

LIMIT_SECONDS = 23 * 3600  # the next night's run waits for this one


@flow(timeout_seconds=LIMIT_SECONDS)
def refresh(images: PositiveInt | None = None) -> None:
    """Take in new images, bring every stage up to date, tell whether there is a new champion, and push the data.

    Args:
        images: of the embedded world, how many there shall be; other sources are read again as they are.
    """
    if images is not None:
        grow_corpus(images)
    champion = champion_version()
    forced = ["ingest"]  # DVC does not see that a folder of images has grown
    if champion is None:
        forced.append("evaluate")  # it registers the model, also one that is up to date but registered elsewhere
    run_stages(stages_in_order(), forced=forced)
    publish_results()
    publish_decision(champion)
    push_data()
