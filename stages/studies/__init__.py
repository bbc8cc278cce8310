"""Studies: run by hand or by a flow, not stages of DVC. They write to ``reports/latest``."""
