"""The editor as a service for people and applications: a web page and a REST interface before processes that run models."""

import stages.common.no_analytics  # noqa: F401 - for what it does
