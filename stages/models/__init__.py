"""Pretrained models, one module per family. Only this room loads weights.

A new family is a module here, with its class and its ``load_…`` function, and a ``ModelName`` in stages/core/params.py.
"""
