"""Pictures without a service: the same code, in this process."""

from os import PathLike
from pathlib import Path
from typing import Any

import httpx

from seedling.asker import DEFAULT_URL, check_address
from seedling.client import Client

AT_ONCE = 1024
"""Most frames of a path, where the memory is the program's own."""

PATIENCE_S = 600.0
"""How long a call may take where nobody else waits, in seconds."""


class Local(Client):
    """Grows pictures of a model file in this process: the methods of ``Client``, and the bytes of a service.

    Loading takes a second or more, so keep one. The model's own threads do the work.

    Args:
        model: A model file, or a folder of them; the model that ships when missing.
        url: What addresses begin with: where a service of this model is to be.
        **settings: Settings of the service, by name, such as ``provider="cuda"``.

    Raises:
        ModelFileError: If there is no model that can be used.
        ProviderError: If the provider that was asked for cannot be had.
        ConfigurationError: If a setting is wrong, one of the environment too.
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        *,
        url: str = DEFAULT_URL,
        **settings: Any,  # noqa: ANN401 - what each is, the service's Settings say
    ) -> None:
        # What only programs that stay offline need takes a second to load.
        from app.configuration import read  # noqa: PLC0415
        from app.main import create_app  # noqa: PLC0415
        from app.settings import Settings  # noqa: PLC0415
        from seedling.own_service import OwnService  # noqa: PLC0415

        own: dict[str, Any] = {
            "watch": False,
            "workers": 1,
            "keys": "",  # whoever runs this may ask
            "quota_per_key": "",
            "quota_per_address": "",
            "cache_mb": 0,
            "max_queue": 2 * AT_ONCE,
            "max_steps": AT_ONCE,
            "max_stream": 2**63,
            "timeout_ms": int(1000 * PATIENCE_S),
        }
        if model is not None:
            own["model"] = Path(model)
        check_address(url)
        self._service = OwnService(create_app(read(Settings, [], **own | settings)))
        super().__init__(url, timeout_s=PATIENCE_S, transport=httpx.HTTPTransport(uds=self._service.path))
        self._http.base_url = "http://localhost"  # the address is what others are to be told

    def close(self) -> None:
        """Ends what loading the model began."""
        super().close()
        self._service.close()
