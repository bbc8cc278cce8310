"""Prefect flows over the stages."""
