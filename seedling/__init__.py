"""Pictures of seeds for Python programs: from a service, ``Client``, or from a model file, ``Local``."""

from models.contract import SeedError, SeedlingError
from seedling.async_client import AsyncClient
from seedling.client import Client
from seedling.errors import AddressError, NoAnswerError, ServiceError
from seedling.offline import Local
from seedling.picture import Picture
from seedling.signing import sign

__all__ = [
    "AddressError",
    "AsyncClient",
    "Client",
    "Local",
    "NoAnswerError",
    "Picture",
    "SeedError",
    "SeedlingError",
    "ServiceError",
    "sign",
]
