"""How many replicas the queues ask for; plain arithmetic, which Ray Serve's controller runs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

PICTURES = "pictures"
"""What replicas report: pictures that wait or are being grown."""


class ByPictures:
    """Asks for a replica for each so many pictures that wait or are being grown.

    Processors and requests would not do: the former are as busy at the most that a replica can take as at
    ten times that, and a request is for one picture or for sixty-four. Ray applies bounds and delays.

    Args:
        pictures: How many of them a replica should have.
    """

    def __init__(self, pictures: float) -> None:
        self._pictures = pictures

    def __call__(self, context: "AutoscalingContext") -> tuple[float, dict[str, Any]]:
        """Returns the number of replicas, which Ray rounds up, and nothing to remember."""
        queued = (context.aggregated_metrics or {}).get(PICTURES)
        if not queued:  # nobody has reported yet
            return context.target_num_replicas, {}
        return max(1.0, sum(queued.values()) / self._pictures), {}
