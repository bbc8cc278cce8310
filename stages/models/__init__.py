"""Pretrained models, a module a family; only here are weights loaded."""
