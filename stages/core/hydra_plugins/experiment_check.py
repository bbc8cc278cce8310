"""Lets ``dvc exp run`` start only where params.yaml is what conf/ composes to; .dvc/config names this folder to DVC.

DVC composes an experiment's parameters from conf/ alone and writes them over params.yaml, so a value that was written into
params.yaml by hand would be undone without a word.
"""

from contextlib import chdir
from pathlib import Path

from dvc.exceptions import InvalidArgumentError
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from stages.core.composition import check_composed
from stages.core.errors import InputError


class ExperimentCheck(SearchPathPlugin):
    """Hydra calls it before each composition in DVC's process."""

    _is_checking = False

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Check params.yaml beside the folder that is composed.

        Raises:
            InvalidArgumentError: it is not what the folder composes to; DVC prints the reason as one line.
        """
        if ExperimentCheck._is_checking:  # the check composes, too
            return
        conf = next(each.path for each in search_path.get_path() if each.provider == "main")
        ExperimentCheck._is_checking = True
        try:
            with chdir(Path(conf).parent):
                check_composed()
        except InputError as error:
            raise InvalidArgumentError(str(error)) from None
        finally:
            ExperimentCheck._is_checking = False
