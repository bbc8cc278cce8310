"""The service: one object that both the REST interface and the page call."""

from collections.abc import AsyncIterator

from PIL import Image

from stages.serving.calls import DEFAULT, EditCall, Edited, FoundMask, ModelVersion, Progress, SuggestedTerm


class Service:
    """Edits pictures with the models that it runs; each method may be called from the event loop only.

    Every method but :meth:`models` raises these errors.

    Raises:
        InputError: the request is refused; UnknownModelError if it names a model that is not served.
        BusyError: too much is at work, or too much came from this client.
        ModelUnavailableError: the model is not loaded, has died, or the service is shutting down.
        DeadlineExceededError: the request was not done in time.
        EditFailedError: the edit failed for another reason.
    """

    def edit(self, call: EditCall, *, model: str = DEFAULT, client: str) -> AsyncIterator[Progress | Edited]:
        """Yield the progress of an edit, and at last its results; closing the iterator gives the edit up.

        Args:
            call: what to edit, and how.
            model: the reference of a model.
            client: whom the request counts for.
        """
        raise NotImplementedError

    async def find_mask(self, call: EditCall, *, model: str = DEFAULT, client: str) -> FoundMask:
        """Return where an edit would take place."""
        raise NotImplementedError

    async def suggest_terms(self, image: Image.Image, prompt: str, *, model: str = DEFAULT, client: str) -> list[SuggestedTerm]:
        """Return the nouns of a prompt, the one that the picture shows least first."""
        raise NotImplementedError

    def models(self) -> list[ModelVersion]:
        """Return the models that a request may name, the default first."""
        raise NotImplementedError
