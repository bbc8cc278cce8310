"""Pages on which people judge: pairs of the training set, and edits of two versions side by side."""

import stages.common.no_analytics  # noqa: F401 - for what it does
