"""Switches Gradio's analytics off. The packages that use Gradio import this first: Gradio looks when it is imported."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
