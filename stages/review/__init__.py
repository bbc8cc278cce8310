"""Pages on which people judge: pairs of the training set, and edits of two versions side by side.

Importing this package switches Gradio's analytics off, so it must come before any import of ``gradio``.
"""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
