"""Register the deployments of prefect.yaml: ``python -m flows.support.deployments``; one that was paused by hand stays paused.

``prefect deploy`` resumes every deployment, as ``paused`` is false where prefect.yaml does not say otherwise.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

from flows.support.automations import TAG


@contextmanager
def kept_paused() -> Iterator[None]:
    """Pause the deployments again that are paused now, when the block ends, whatever it did with them."""
    with get_client(sync_client=True) as client:
        ours = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])))
        paused = [deployment.id for deployment in ours if deployment.paused]
        try:
            yield
        finally:
            for deployment in paused:
                client.pause_deployment(deployment)


def main(*options: str) -> int:
    """Deploy, all or what options of ``prefect deploy`` choose, and return the exit code."""
    with kept_paused():
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *(options or ("--all",))]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
