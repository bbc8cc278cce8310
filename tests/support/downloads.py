"""Parameters of downloads from a server on this machine."""

from stages.core.params_download import Download


def section_for(metadata: str | None, **changes: object) -> Download:
    """Return the section ``download`` for lists of URLs, with short waits."""
    section = {"metadata": metadata, "folder": "downloads", "url": "url", "text": "caption", "size": 48, "processes": 1}
    section |= {"threads": 16, "timeout": 1.0, "retries": 1, "user_agent": None, "private_addresses": True, "min_success": 0.2}
    return Download.model_validate(section | changes)
