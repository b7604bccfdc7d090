"""What an operator sets, from the environment; facts about a model are never here."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

import models

SHIPPED_MODEL = Path(models.__file__).parent / "pretrained" / "avatars" / "avatars.onnx"

Provider = Literal["auto", "cpu", "cuda"]


class Settings(BaseSettings):
    """Each field is read from ``SEEDLING_<NAME>`` in the environment."""

    model_config = SettingsConfigDict(env_prefix="SEEDLING_", frozen=True, protected_namespaces=())

    model: Path = SHIPPED_MODEL
    """Model file to serve, written by ``python -m export.to_onnx``."""
    provider: Provider = "auto"
    """Where to compute: ``auto`` takes CUDA where ONNX Runtime has it; ``cuda`` fails without it."""
    threads: int = Field(default=0, ge=0)
    """Processor threads for one inference; 0 takes as many as the container may use."""
    max_count: int = Field(default=64, ge=1)
    """Most pictures in one ``/generate`` request."""
    max_steps: int = Field(default=64, ge=2)
    """Most frames in one ``/interpolate`` request."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
