"""The nightly run: fetch and take in new images, check the data, train, promote a better model, push the data, prune."""

from prefect import flow
from pydantic import PositiveInt

from flows.support.cancellation import cancellable
from flows.support.corpus import grow_corpus
from flows.support.dag import stages_in_order
from flows.support.nights import check_data, log_speeds
from flows.support.record import put_aside_damaged_record
from flows.support.registry import champion_version, publish_decision
from flows.support.tasks import download_pictures, prune, publish_results, push_data, run_stages
from flows.support.upkeep import check_upkeep
from stages.core.composition import check_composed

LIMIT_SECONDS = 23 * 3600  # the next night's run waits for this one


@flow(timeout_seconds=LIMIT_SECONDS)
def refresh(images: PositiveInt | None = None, *, accept_data: bool = False) -> None:
    """Take in new images, bring every stage up to date, publish who is champion, push the data, and prune.

    Where params.yaml names lists of URLs, the pictures of new ones are fetched first.
    Nothing is trained on data that have drifted too far from those of earlier nights: the run fails. What is pruned and what
    is reported is in the section ``upkeep`` of params.yaml.

    Args:
        images: the number of images for the embedded world to have; None reads the source as it is.
        accept_data: whether to train on the data whatever they look like, and compare later nights with these only.
    """
    with cancellable():
        check_composed()  # not what an upgrade that was interrupted, or a hand, has left in params.yaml
        put_aside_damaged_record()
        if images is not None:
            grow_corpus(images)
        check_upkeep(return_state=True)  # the night goes on if this fails
        champion = champion_version()
        prune(return_state=True)  # what earlier nights left that did not get as far as the end
        download_pictures()
        forced = ["ingest"]  # also where nothing came: the night begins with it, and a source that has gone ends it
        if champion is None:
            forced.append("evaluate")  # registers the model, even one that is up to date but registered elsewhere
        data = stages_in_order(["describe"])
        run_stages(data, forced=forced)
        check_data(accept=accept_data)
        run_stages([stage for stage in stages_in_order() if stage not in data], forced=forced)
        publish_results()
        publish_decision(champion)
        push_data()
        log_speeds(return_state=True)  # charts are no reason to lose a night
        prune()
