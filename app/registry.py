"""The models that are served, by name: found, loaded beside each other, exchanged and given up."""

import asyncio
import hashlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from app.engine import Engine
from app.memory import give_back_memory
from app.model import OpenFile, load, open_file
from app.model_files import Sighting, take_stamp
from app.refusals import STOPPING
from app.settings import Settings
from app.shelf import Entry, Shelf
from app.tally import ModelTally
from app.tracing import Tracing
from models.contract import ModelFileError, SeedlingError

log = logging.getLogger("seedling")

RETIRE_S = 300.0
"""How long an engine that was exchanged waits for the requests that still use it, in seconds."""

POLL_S = 0.05
"""How often it looks whether they are done, in seconds."""


class UnknownModelError(SeedlingError):
    """A model, or an edition, that is not served here."""


class ModelNotReadyError(SeedlingError):
    """A model that is known and cannot grow pictures now.

    Args:
        message: Why.
        retry_after_s: When it should be ready, in seconds; None if it takes another file.
    """

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Registry:
    """Names and engines. All but the loading itself happens on the event loop, so an exchange is one step.

    Each engine has a queue, lanes and sessions of its own: ``max_queue`` and ``lanes`` hold for each model,
    and the models share the processors as the system deals them out. The default is loaded at once,
    the others when ``refresh`` is called.

    Args:
        settings: What the operator set.
        tracing: Where engines tell of requests that are traced.
        open_file: What opens model files.

    Raises:
        ModelFileError: If there is no model to begin with.
        ProviderError: If the execution provider that was asked for cannot be had.
    """

    def __init__(
        self, settings: Settings, tracing: Tracing | None = None, open_file: OpenFile = open_file
    ) -> None:
        self._settings = settings
        self._open_file = open_file
        self._tracing = tracing
        self._shelf = Shelf(settings.model)
        self._shelf.arrange(self._shelf.look())
        self._editions: dict[str, Engine] = {}
        self.engines: list[Engine] = []
        """Those that are loaded; also those that are exchanged and still answer somebody."""
        self.tallies: defaultdict[str, ModelTally] = defaultdict(ModelTally)
        """What happened to the pictures of each model, by its name."""
        self.loads: Counter[str] = Counter()
        """How often a file was loaded, by how it ended: ok or failed."""
        self._retiring: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.draining = False
        """Whether the service is about to stop, and balancers should send their requests elsewhere."""
        self.on_fault: Callable[[], None] = lambda: None
        """What is called when an engine's session no longer works."""
        self._load_s = 0.0
        """How long the last one took to load, in seconds."""
        self._told: dict[Path, str] = {}
        """The errors that the log has, by file."""
        self.default_name, self.default = self._choose_default()
        """The engine of a request that names no model, and its name."""
        self._tell()

    # --- Requests ------------------------------------------------------------------------------------

    def of_name(self, name: str) -> Engine:
        """Returns the engine of a model.

        Raises:
            UnknownModelError: If there is no such model.
            ModelNotReadyError: If it is being loaded, or its file is broken.
        """
        entry = self._shelf.named.get(name)
        if entry is None:
            raise UnknownModelError(f"the models served here are {_list(self._shelf.named)}, got {name!r}")
        if entry.engine is not None:
            return entry.engine
        if entry.error:
            raise ModelNotReadyError(f"the model {name!r} cannot be served: {entry.error}", None)
        ahead = sum(other.status == "loading" for other in self._shelf)
        raise ModelNotReadyError(f"the model {name!r} is being loaded", self._load_s * ahead)

    def of_edition(self, edition: str) -> Engine:
        """Returns the engine of an edition.

        Raises:
            UnknownModelError: If there is none.
        """
        engine = self._editions.get(edition)
        if engine is None:
            raise UnknownModelError(f"the editions served here are {_list(self._editions)}, got {edition!r}")
        return engine

    def entries(self) -> list[Entry]:
        """Returns what is served or would be: the default, the others by name, the files without a name."""
        named = sorted(
            self._shelf.named.values(), key=lambda entry: (entry.name != self.default_name, entry.name)
        )
        return [*named, *sorted(self._shelf.strays, key=lambda entry: entry.name)]

    def why_not_ready(self) -> str | None:
        """Returns why no request should be sent here now; None if the default can grow pictures."""
        return STOPPING if self.draining else self.default.fault or None

    @property
    def is_broken(self) -> bool:
        """Whether an engine has to be made anew, because its session no longer works."""
        return any(entry.engine is not None and entry.engine.fault for entry in self._shelf)

    # --- Life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the default's engine, for the event loop that runs now."""
        self.default.start()

    def give_up(self) -> None:
        """Fails whatever waits, and refuses what comes: at the end any answer is better than none."""
        for engine in self.engines:  # those that are exchanged, too
            engine.give_up()

    async def stop(self) -> None:
        """Stops every engine."""
        self._stopping = True
        for engine in self._editions.values():
            await engine.stop()
        await asyncio.gather(*self._retiring)

    async def refresh(self, *, thorough: bool = False) -> None:
        """Makes what is served what is on the disk. To be called by one task alone.

        Args:
            thorough: Whether to try again what failed, and to compare what seems not to have changed.
        """
        if thorough:
            self._told = {}
        try:
            seen = await asyncio.to_thread(self._shelf.look, thorough=thorough)
        except OSError as error:
            log.error("%s cannot be looked at: %s; what is served stays", self._shelf.root, error.strerror)  # noqa: TRY400
            return
        for lost in self._shelf.arrange(seen, keep=self.default_name):
            log.info("model %s: its file is gone, so it is served no more", lost.name)
            if lost.engine is not None:
                self._retire(lost.engine)
        self._tell()
        for entry in self.entries():
            if self.draining:
                return
            broken = entry.engine is not None and entry.engine.fault
            wanted = entry.due or thorough or broken
            if entry.file.card is not None and wanted and entry not in self._shelf.strays:
                await self._load(entry)

    def _choose_default(self) -> tuple[str, Engine]:
        """Loads the default: the one that is asked for, or the first by name that can be served."""
        root, wanted, named = self._shelf.root, self._settings.default, self._shelf.named
        if wanted and named and wanted not in named:
            raise ModelFileError(
                f"the default must be one of {_list(named)}, which {root} holds, got {wanted!r}"
            )
        for name in [wanted] if wanted in named else sorted(named):
            entry = named[name]
            entry.due = False
            try:
                engine = entry.engine = self._open(entry.file, None)
            except ModelFileError as error:
                entry.error = _reason(error)
                self.loads["failed"] += 1
            else:
                self._editions[engine.edition] = engine
                self._note(engine)
                return name, engine
        raise ModelFileError(self._nothing())

    def _nothing(self) -> str:
        """Returns why there is nothing to serve."""
        root = self._shelf.root
        try:
            take_stamp(root)
        except OSError as error:
            return f"the model file {root} cannot be read: {error.strerror}"
        why = [f"the model file {entry.file.path} cannot be served: {entry.error}" for entry in self._shelf]
        return "; ".join(why) or f"the folder {root} holds no model file, *.onnx"

    def _tell(self) -> None:
        """Logs what is wrong with files, each fault once."""
        faults = {
            entry.file.path: f"model {entry.name}: {entry.error}" for entry in self._shelf if entry.error
        }
        for path, fault in faults.items():
            if self._told.get(path) != fault:
                log.error("%s (%s)", fault, path)
        self._told = faults

    # --- Engines -------------------------------------------------------------------------------------

    async def _load(self, entry: Entry) -> None:
        """Loads a file beside what serves, then puts it in its place."""
        entry.due = False
        old = entry.engine
        try:
            same = None if old is None or old.fault else old
            engine = await asyncio.to_thread(self._open, entry.file, same)
        except Exception as error:  # noqa: BLE001 - whatever a library says of a file, the service goes on
            entry.error = _reason(error)
            self.loads["failed"] += 1
            self._tell()
            return
        entry.error = ""
        if engine is not old:
            self._note(engine)
            engine.start()
            entry.engine = self._editions[engine.edition] = engine
            if old is not None:
                self._retire(old)
        self._pass_on()

    def _pass_on(self) -> None:
        """Makes the model the default whose name the default's file has taken, as soon as it is ready."""
        lost = self._shelf.named[self.default_name]
        if lost.file.card is None and not self._settings.default:
            for entry in self._shelf.named.values():
                if entry is not lost and entry.file.path == lost.file.path and entry.engine is not None:
                    self.default_name = entry.name
                    del self._shelf.named[lost.name]
                    self._retire(self.default)
                    break
        engine = self._shelf.named[self.default_name].engine
        assert engine is not None
        self.default = engine

    def _open(self, file: Sighting, old: Engine | None) -> Engine:
        """Makes an engine of a file, warm but not started; the old one if it is of the same content."""
        if old is not None and _sha256(file.path) == old.model.sha256:
            return old
        began = time.monotonic()
        settings = self._settings
        model = load(settings, file.path, self._open_file)
        if take_stamp(file.path) != file.stamp:
            raise ModelFileError("it changed while it was read")
        engine = Engine(
            model,
            max_queue=settings.max_queue,
            effort=settings.png,
            cpus=settings.cpus,
            tally=self.tallies[model.card.name],
        )
        engine.tracing = self._tracing
        self._load_s = time.monotonic() - began
        plan = model.layout
        log.info(
            "model %s, edition %s, in %.1f s: %d lanes of %d threads, %.0f pictures/s",
            *(model.card.name, engine.edition, self._load_s, plan.lanes, plan.threads, plan.pictures_per_s),
        )
        return engine

    def _note(self, engine: Engine) -> None:
        self.loads["ok"] += 1
        self.engines.append(engine)
        engine.on_fault = self._call_for_help

    def _call_for_help(self) -> None:
        self.on_fault()

    def _retire(self, engine: Engine) -> None:
        """Stops an engine once the requests that use it are done; no new one can get it."""
        if self._editions.get(engine.edition) is engine:  # else the same was opened anew
            del self._editions[engine.edition]
        task = asyncio.create_task(self._end(engine))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _end(self, engine: Engine) -> None:
        deadline = time.monotonic() + RETIRE_S
        # Not an event, which every request would have to look after.
        while engine.leases and time.monotonic() < deadline and not self._stopping:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        await engine.stop()
        self.engines.remove(engine)
        del engine
        await asyncio.to_thread(give_back_memory)


def _reason(error: Exception) -> str:
    """Returns what is wrong with a file, without its path: a client has no business with that."""
    return str(error.__cause__ or error)


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
