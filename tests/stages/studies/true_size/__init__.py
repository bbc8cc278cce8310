"""Tests of stages/studies/true_size."""
