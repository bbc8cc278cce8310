"""The editor as a service for people and applications: a web page and a REST interface before processes that run models.

Importing this package switches Gradio's analytics off, so it must come before any import of ``gradio``.
"""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
