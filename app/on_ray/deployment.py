"""The deployment: ``serve run app.on_ray.deployment:build replicas=2``; ``SEEDLING_…`` variables as ever."""

from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from ray import serve

from app import metrics
from app.configuration import read
from app.logs import start_logging
from app.main import create_app
from app.on_ray.front import Front
from app.on_ray.scaling import PICTURES, ByPictures
from app.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

ASK_S = 1.0
"""How long a replica waits for what the others counted, in seconds."""

LAST_S = 1.0
"""How much longer than a request may wait a replica lives that is to stop, in seconds."""


class Options(BaseModel):
    """What Ray is told of replicas; what each of them does, the service's own settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    replicas: PositiveInt = 1
    """Replicas, each with an engine of its own; the fewest, if there may be more."""
    max_replicas: PositiveInt | None = None
    """Most replicas. With more than the fewest, their number follows the queues."""
    pictures: PositiveFloat = 60
    """Pictures that wait or are being grown, for each of which numbers there is to be a replica."""
    cpus: PositiveFloat = 1
    """Processors of a replica; below 1 several replicas share one. It has as many threads, at least one."""
    gpus: NonNegativeFloat = 0
    """GPUs of a replica: 0.25 puts four on one card."""
    look_back_s: PositiveFloat = 10
    """Time over which the queues are averaged, in seconds."""
    upscale_delay_s: NonNegativeFloat = 10
    """How long more replicas must be asked for before they are started, in seconds."""
    downscale_delay_s: NonNegativeFloat = 300
    """How long fewer replicas must be asked for before some are stopped, in seconds."""

    @model_validator(mode="after")
    def _check(self) -> "Options":
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas must be at least replicas, which is {self.replicas}, got {self.max_replicas}"
            )
        return self


@serve.deployment
@serve.ingress()
class Pictures:
    """A replica: the whole service, but for its sockets.

    Args:
        settings: What the operator set.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __serve_build_asgi_app__(self) -> Front:
        """Builds the service, its default model loaded."""
        start_logging(self._settings.log)
        self._app: FastAPI = create_app(self._settings)
        self._app.state.siblings = self._replicas = Replicas()
        return Front(self._app, self._settings.max_body_bytes)

    def check_health(self) -> None:
        """Fails while the service is not ready; a replica that fails three times is replaced.

        Raises:
            RuntimeError: If it is not ready; says why.
        """
        if (fault := self._app.state.registry.why_not_ready()) is not None:
            raise RuntimeError(fault)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tells how many pictures wait or are being grown."""
        return {PICTURES: sum(sum(engine.queued.values()) for engine in self._app.state.registry.engines)}

    def tell(self, asker: str) -> bytes:
        """Tells another replica what this one has counted; nothing to itself."""
        return b"" if asker == self._replicas.place else metrics.tell(self._app)


class Replicas:
    """The replicas as one of them sees them: whichever is asked for metrics answers for all."""

    def __init__(self) -> None:
        self._context = serve.get_replica_context()
        self.place = self._context.replica_id.unique_id
        """Which of the replicas this is."""

    async def ask(self) -> list[bytes]:
        """Returns what the others tell."""
        handle = serve.get_deployment_handle(self._context.deployment, self._context.app_name)
        try:
            told = await handle.broadcast("tell", self.place).results_async(
                timeout_s=ASK_S, return_exceptions=True
            )
        except TimeoutError:
            return []
        return [answer for answer in told if isinstance(answer, bytes) and answer]


def build(options: Options) -> Any:  # noqa: ANN401 - Ray's application
    """Returns the application, for ``serve run``, ``serve deploy`` and ``serve.run``.

    Args:
        options: What Ray is told of replicas. The service's settings come from the environment.
    """
    settings = settings_of(options)
    waits_s = settings.timeout_ms / 1000 + LAST_S
    scaled = {"autoscaling_config": _scaling(options)} if _scales(options) else {}
    deployment = Pictures.options(  # type: ignore[attr-defined]
        **({"num_replicas": options.replicas} if not scaled else {}),
        **scaled,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        # The engine is to say no, by its queue in pictures. These are for what never gets to it.
        max_ongoing_requests=settings.max_connections,
        max_queued_requests=settings.max_connections,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=max(settings.grace_ms / 1000, waits_s),
        health_check_period_s=5,
        health_check_timeout_s=10,
        logging_config={"enable_access_log": False},  # the service has its own
    )
    return deployment.bind(settings)


def settings_of(options: Options) -> Settings:
    """Returns the service's settings, from the environment, as they are for a replica."""
    settings = read(Settings, [])
    changes: dict[str, object] = {"workers": 1, "model": settings.model.resolve()}
    if not settings.threads:
        changes["threads"] = max(1, int(options.cpus))
    if options.gpus and settings.provider == "auto":
        changes["provider"] = "cuda"  # who gives it a card does not want the processor instead
    return settings.model_copy(update=changes)


def _scales(options: Options) -> bool:
    return options.max_replicas is not None and options.max_replicas > options.replicas


def _scaling(options: Options) -> dict[str, Any]:
    """Returns how Ray is to scale: by our queues, which replicas report ten times in the time averaged."""
    return {
        "min_replicas": options.replicas,
        "max_replicas": options.max_replicas,
        "look_back_period_s": options.look_back_s,
        "metrics_interval_s": options.look_back_s / 10,
        "upscale_delay_s": options.upscale_delay_s,
        "downscale_delay_s": options.downscale_delay_s,
        "policy": {
            "policy_function": f"{ByPictures.__module__}:{ByPictures.__qualname__}",
            "policy_kwargs": {"pictures": options.pictures},
        },
    }
