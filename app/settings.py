"""What an operator sets, by flag or from the environment; facts about a model are never here."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

import models
from app.cpus import available_cpus
from app.logs import Form
from app.png import Effort

SHIPPED_MODEL = Path(models.__file__).parent / "pretrained" / "avatars" / "avatars.onnx"
"""The model that ships, as the export writes it: for every provider, and to convert."""

Provider = Literal["auto", "cpu", "cuda", "openvino"]
Precision = Literal["auto", "float32", "tf32", "bfloat16"]


def _split(value: object) -> object:
    """Takes apart a list as an operator writes it: ``1,4`` or ``[1, 4]``."""
    if isinstance(value, str):
        return [part for part in value.strip().strip("[]").replace(" ", "").split(",") if part]
    return value


def _check_quotas(text: str) -> str:
    if text:
        from app.quota import read  # noqa: PLC0415 - most have none

        try:
            read(text)
        except ValueError:
            raise ValueError("expected such as 600/minute or 100/second;50000/day") from None
    return text


def _check_networks(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        try:
            ipaddress.ip_network(host)
        except ValueError:
            raise ValueError(f"expected addresses or networks such as 10.0.0.0/8, one is {host!r}") from None
    return hosts


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError(f"expected sites such as https://example.org, one is {origin!r}")
    return origins


class Settings(BaseSettings):
    """Serve what models grow from seeds. Flags come before the environment, and that before the file .env."""

    model_config = SettingsConfigDict(
        env_prefix="SEEDLING_",
        env_file=".env",
        dotenv_filtering="only_existing",
        frozen=True,
        protected_namespaces=(),
        cli_kebab_case=True,
        cli_prog_name="python -m app",
        cli_show_env_vars=True,
        cli_implicit_flags=True,
        use_attribute_docstrings=True,
    )

    model: Path = SHIPPED_MODEL
    """Model file to serve, written by python -m export.to_onnx or export.convert, or a folder of them."""
    default: str = ""
    """Name of the model for requests that name none; by default the first by name of a folder."""
    watch: bool = True
    """Whether to load model files that are added or changed, and give up those that are removed, as it
    happens; SIGHUP does it once."""
    provider: Provider = "auto"
    """Where to compute: auto takes CUDA where ONNX Runtime has it, else the CPU; another that cannot be had
    fails."""
    precision: Precision = "auto"
    """Arithmetic: auto is float32; tf32 (CUDA) and bfloat16 (OpenVINO) are faster and change pictures a
    little."""
    threads: int = Field(default=0, ge=0)
    """Processor threads in all; 0 takes as many as the container may use."""
    lanes: int = Field(default=0, ge=0)
    """Batches computed at the same time; 0 measures at start what is fastest."""
    batch_sizes: Annotated[tuple[PositiveInt, ...], NoDecode, BeforeValidator(_split)] = ()
    """Pictures in a batch, the sizes to run, such as 1,4; one that would change a picture's bytes is left
    out. Empty finds them at start."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that serve, each with an engine of its own; the threads are shared out among them."""
    max_queue: int = Field(default=1024, ge=1)
    """Most pictures that wait or are being grown; a request beyond that gets 429."""
    timeout_ms: int = Field(default=10_000, ge=1)
    """Longest that a request may wait for its pictures, in milliseconds; X-Timeout-Ms may ask for less."""
    cache_mb: int = Field(default=32, ge=0)
    """Memory for answers that may be asked for again, in MB; 0 keeps none."""
    png: Effort = "fast"
    """How PNGs are packed: fast, or small for storage at many times the time."""
    max_count: int = Field(default=64, ge=1)
    """Most pictures in one /generate request."""
    max_stream: int = Field(default=10_000, ge=1)
    """Most pictures in one streamed /generate request."""
    max_steps: int = Field(default=64, ge=2)
    """Most frames in one /interpolate request."""
    max_connections: int = Field(default=10_000, ge=1)
    """Most connections of a process; what comes beyond gets 503."""
    max_head_bytes: int = Field(default=32_768, ge=1024)
    """Most bytes of a request's address and headers; more gets 431."""
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    """Most bytes of a request's body; more gets 413."""
    max_unread_mb: int = Field(default=256, ge=1)
    """Memory for answers that clients have not read, in MB; beyond it those who stopped reading first are
    cut."""
    read_timeout_ms: int = Field(default=20_000, ge=100)
    """Longest that the head of a request, and then its body, may take to come, in milliseconds."""
    write_timeout_ms: int = Field(default=30_000, ge=100)
    """Longest that a client may read nothing of its answer, in milliseconds."""
    keep_alive_ms: int = Field(default=5_000, ge=0)
    """How long a connection is kept for a next request, in milliseconds; a proxy in front must be quicker."""
    drain_ms: int = Field(default=2_000, ge=0)
    """How long after SIGTERM the service says that it is not ready and goes on answering, in milliseconds."""
    grace_ms: int = Field(default=15_000, ge=1_000)
    """Longest from a signal to the end, the time before included, in milliseconds; what is not answered then
    gets 503."""
    log: Form = "text"
    """How to log: text for people, json for machines."""
    access_log: bool = False
    """Whether to write a line for each request to the standard output; refusals at the door are sampled."""
    traces: str = ""
    """Where to send traces, the address of a collector for OTLP over HTTP such as http://localhost:4318;
    takes the extra otel. Empty sends none; what else there is to set, OpenTelemetry's own variables set."""
    keys: str = ""
    """File of keys, of which requests must have one; made by python -m app.keys, and read again when it
    changes. Without it anyone may ask."""
    quota_per_key: Annotated[str, AfterValidator(_check_quotas)] = ""
    """Most pictures in a time for each key, such as 600/minute or 100/second;50000/day, by each process."""
    quota_per_address: Annotated[str, AfterValidator(_check_quotas)] = ""
    """Most pictures in a time for each network address; IPv6 by its first 64 bits."""
    trusted_proxies: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_check_networks)
    ] = ()
    """Addresses or networks of proxies, such as 10.0.0.0/8, whose X-Forwarded-For and X-Forwarded-Proto
    count."""
    cors_origins: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_check_origins)
    ] = ()
    """Sites whose scripts may ask, such as https://example.org; * is all. Pictures in an img need none."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        largest = max(self.max_count, self.max_steps)
        if self.max_queue < largest:
            raise ValueError(
                f"SEEDLING_MAX_QUEUE (--max-queue): it must be at least {largest}, as max_count and "
                f"max_steps ask, got {self.max_queue}"
            )
        return self

    def timeout_s(self, asked_ms: int | None) -> float:
        """Returns how long a request may take, in seconds: what it asks for, up to the setting."""
        return min(asked_ms or self.timeout_ms, self.timeout_ms) / 1000

    @property
    def cpus(self) -> int:
        """Processors that one worker process computes on."""
        return max(1, (self.threads or available_cpus()) // self.workers)
