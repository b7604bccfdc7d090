"""Opens the default model while the rest of the service is imported: two processors have something to do."""

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from app.model import Opened, open_file
from app.model_files import Sighting, look, take_stamp
from app.settings import Settings


class HeadStart:
    """Opens, in a thread, the model file that will be asked for first.

    It is not measured there: imports would disturb that.

    Args:
        settings: What the operator set.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = _guess(settings)
        self._opened: Future[Opened] | None = None
        if self._file is not None:
            thread = ThreadPoolExecutor(1, "open")
            self._opened = thread.submit(open_file, settings, self._file.path)
            thread.shutdown(wait=False)

    def open_file(self, settings: Settings, path: Path) -> Opened:
        """Opens a file as ``app.model.open_file`` does, or waits until what was begun is done."""
        begun, file = self._opened, self._file
        self._opened = self._file = None  # the session is not to be kept beyond its time
        if begun is None or file is None:
            return open_file(settings, path)
        with contextlib.suppress(OSError):
            if path == file.path and take_stamp(path) == file.stamp:
                return begun.result()
        begun.add_done_callback(_close)
        return open_file(settings, path)


def _guess(settings: Settings) -> Sighting | None:
    """Returns the file that the registry will take for the default; another costs only time."""
    found = [(file.card.name, file) for file in look(settings.model, {}).values() if file.card is not None]
    return min(found, key=lambda pair: (pair[0] != settings.default, pair[0]), default=(None, None))[1]


def _close(begun: Future[Opened]) -> None:
    if begun.exception() is None:
        begun.result().file.content.close()
