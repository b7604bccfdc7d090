"""How many pictures a caller may ask for in a time, by key and by address, as ``limits`` counts them.

Source: draft-ietf-httpapi-ratelimit-headers-10, for the headers and the problem's type.
"""

import functools
import ipaddress
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItem, parse_many
from limits.strategies import FixedWindowRateLimiter, RateLimiter

from app.counters import Counters
from app.problems import LimitError, QuotaError

IPV6_PREFIX = 64
"""A customer of a provider has at least so much of an IPv6 address to choose, so that counts as one."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A quota of one caller."""

    name: str
    item: RateLimitItem
    who: str
    limiter: RateLimiter

    @property
    def head(self) -> str:
        """The member of ``RateLimit-Policy``."""
        return f'"{self.name}";q={self.item.amount};w={self.item.get_expiry()};qu="pictures"'

    @property
    def left(self) -> int:
        """How many pictures are left."""
        return self.limiter.get_window_stats(self.item, self.who).remaining

    @property
    def reset_s(self) -> int:
        """In how many seconds all are there again."""
        end = self.limiter.get_window_stats(self.item, self.who).reset_time
        return max(1, math.ceil(end - time.monotonic()))

    @property
    def state(self) -> str:
        """The member of ``RateLimit``."""
        return f'"{self.name}";r={self.left};t={self.reset_s}'


class Account:
    """What the caller of one request may still ask for."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies

    def spend(self, pictures: int) -> None:
        """Takes pictures off every quota, or off none.

        Raises:
            LimitError: If they are more than the whole of a quota.
            QuotaError: If they are more than what is left of one.
        """
        for policy in self._policies:
            if pictures > policy.item.amount:
                raise LimitError("the number of pictures", pictures, policy.item.amount)
        broken = [policy for policy in self._policies if policy.left < pictures]
        if broken:
            worst = max(broken, key=lambda policy: policy.reset_s)
            left = f"{worst.left} pictures left for {worst.reset_s} s"
            names = [policy.name for policy in broken]
            raise QuotaError(f"the quota {worst.name!r} has {left}, got {pictures}", names, worst.reset_s)
        for policy in self._policies:
            policy.limiter.hit(policy.item, policy.who, cost=pictures)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Returns what an answer says of the quotas; nothing if there are none."""
        if not self._policies:  # there are limits for keys alone, and here is none
            return []
        heads = ", ".join(policy.head for policy in self._policies)
        states = ", ".join(policy.state for policy in self._policies)
        return [(b"ratelimit-policy", heads.encode()), (b"ratelimit", states.encode())]


class Quotas:
    """The quotas of all callers of a process.

    Args:
        per_key: What each key may ask for, such as ``600/minute;10000/day``; empty sets no limit.
        per_address: What each network address may.
    """

    def __init__(self, per_key: str, per_address: str) -> None:
        self._per_key = read(per_key)
        self._per_address = read(per_address)
        # Apart, so that no flood of addresses makes the service forget what a key has had.
        self._keys = FixedWindowRateLimiter(Counters())
        self._addresses = FixedWindowRateLimiter(Counters())

    def open(self, name: str | None, client: tuple[str, int] | None) -> Account:
        """Returns the account of a request.

        Args:
            name: Whose key it has, if it has one.
            client: Where it comes from.
        """
        policies = []
        if name is not None:
            policies = [Policy(_name("key", it), it, name, self._keys) for it in self._per_key]
        if self._per_address:
            who = normalise(client[0] if client else "")
            policies += [Policy(_name("address", it), it, who, self._addresses) for it in self._per_address]
        return Account(policies)


def read(text: str) -> list[RateLimitItem]:
    """Reads quotas as an operator writes them.

    Raises:
        ValueError: If they are none.
    """
    return parse_many(text) if text else []


def _name(whose: str, item: RateLimitItem) -> str:
    return f"{whose}-{item.get_expiry()}s"


@functools.lru_cache(4096)
def normalise(address: str) -> str:
    """Returns what counts as one address: all of IPv4, the network of IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), IPV6_PREFIX), strict=False))
