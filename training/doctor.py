"""Examines pictures before they are trained on: what is wrong with them, and what to do about it."""

import dataclasses
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from training.cli import one_line
from training.data import MIN_PICTURES
from training.pictures import PictureError, TooSmallError
from training.symptoms import GRID, Look, Pixels, compare, look

UNLIKE = 0.15
"""Mean correlation of all pairs below which it is varied; avatars have 0.36, photographs of flowers 0.08."""

FEW, SOME, MANY = 1_000, 5_000, 20_000
"""Numbers of pictures below which a set is very small, small, and too small to be varied: rules of thumb."""

MAX_NAMED = 5
"""Most examples of a finding on the terminal; the report as JSON names them all."""

BRIEF = 512
"""Most pictures that ``brief`` looks at; fewer, if they are larger than 128×128."""

_RUN = 16  # neighbours in a sample, since copies and frames of a film are next to each other


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """When and what to advise on one kind of finding."""

    above: float
    """Share of the pictures, 0…1, above which it is worth advice."""
    text: str
    """What it means and what to do."""


RULES = {
    "unreadable": Rule(0.01, "cannot be read and are left out: fetch or export them again"),
    "too small": Rule(0.01, "are too small and are left out: find larger originals"),
    "duplicates": Rule(
        0.01, "are exact copies of others: python -m training.prepare SRC DST keeps one of each"
    ),
    "near-duplicates": Rule(
        0.02,
        "look nearly the same as another: keep one of each, unless such small differences are to be learnt",
    ),
    "blank": Rule(
        0.0,
        "are one colour or nearly so, and teach the generator blanks: remove them, or give light drawings "
        "on a transparent ground another --background",
    ),
    "enlarged": Rule(
        0.1,
        "are smaller than {resolution} pixels and are enlarged, which teaches blur: find larger "
        "originals, leave them out, or train with --img-resolution {half}",
    ),
    "cropped": Rule(
        0.1, "lose more than a third to the centre crop: cut them to squares around the subject yourself"
    ),
    "transparent": Rule(
        0.05,
        "have transparent parts, which are filled with one colour: see on the --sheet whether it suits; "
        "python -m training.prepare SRC DST --background COLOR takes another",
    ),
}
"""The kinds of finding that are bad in themselves, in the order in which they are reported."""


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, as in ``1 picture`` and ``4,064 pictures``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A picture that was left out."""

    path: str
    """Path inside the source."""
    kind: str
    """``unreadable``, ``too small`` or ``duplicate``."""
    reason: str
    """What is wrong with it, for people."""

    @classmethod
    def unread(cls, path: str, error: PictureError) -> Self:
        """Returns what to say of a picture that could not be loaded."""
        return cls(path, "too small" if isinstance(error, TooSmallError) else "unreadable", str(error))


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """The range of a figure over all pictures."""

    least: float
    median: float
    most: float

    def __str__(self) -> str:
        return f"{self.least:g} to {self.most:g}, median {self.median:g}"


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(*(round(float(value), 2) for value in (min(values), np.median(values), max(values))))


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do about the pictures."""

    kind: str
    """The finding that it is about."""
    figure: float
    """What caused it: a number of pictures (``too few``), a correlation (``varied``) or a share in 0…1."""
    text: str
    """The figure, what it means and what to do, in a sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was found in a set of pictures."""

    resolution: int
    """Side at which they were looked at, in pixels."""
    found: int
    """Number of pictures in the set."""
    examined: int
    """Number of pictures that were read and looked at."""
    skipped: list[Skipped]
    """Pictures that training leaves out, and why."""
    shorter_side: Spread | None
    """Shorter sides of the files' pictures, in pixels, where there are files."""
    shape: Spread | None
    """Longer side divided by shorter, in the same."""
    kinds: dict[str, list[str]]
    """Names of the pictures of each kind: those of ``RULES``, and ``grey``."""
    duplicates: list[list[str]]
    """Groups of pictures with the same pixels, by name."""
    near_duplicates: list[list[str]]
    """Groups of pictures that look alike, by name; of exact duplicates, only the first is in one."""
    likeness: float
    """Mean correlation of all pairs, 0…1, as ``compare`` returns it; 0 where it is negative."""

    @property
    def usable(self) -> int:
        """Number of pictures that can be trained on."""
        return self.found - len(self.skipped)

    def advice(self, *, shifted: bool = False) -> list[Advice]:
        """Returns what to do, the most important first.

        Args:
            shifted: Whether the pictures are shown to D shifted anyway.
        """
        return [*self._on_number(shifted=shifted), *self._on_shares(), *self._on_mixture()]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        advice = [dataclasses.asdict(advice) for advice in self.advice()]
        return {**dataclasses.asdict(self), "usable": self.usable, "advice": advice}

    def lines(self) -> Iterator[str]:
        """Yields the report as lines for a terminal: sizes, findings with examples, and advice."""
        yield f"{counted(self.found, 'picture')} found, {self.usable:,} can be trained on"
        yield ""
        if self.shorter_side:
            yield f"shorter side   {self.shorter_side} (pixels)"
            yield f"long : short   {self.shape}"
        yield f"in common      {self.likeness:.2f}, where 0 is nothing and 1 everything"
        yield ""
        for kind, names in self.kinds.items():
            yield f"{kind:15}{len(names):7,}" + (f"  {self._share(kind):6.1%}" if names else "")
            examples = self._examples(kind)
            yield from (f"    {one_line(example)}" for example in examples[:MAX_NAMED])
            if len(examples) > MAX_NAMED:
                yield f"    and {len(examples) - MAX_NAMED:,} more, which --json names"
        yield ""
        yield "advice" if self.advice() else "no advice: this is a good set to train on"
        for advice in self.advice():
            yield from textwrap.wrap(advice.text, 100, initial_indent="  * ", subsequent_indent="    ")

    def _examples(self, kind: str) -> list[str]:
        groups = {"duplicates": (" = ", self.duplicates), "near-duplicates": (" ~ ", self.near_duplicates)}
        if kind in groups:
            sign, found = groups[kind]
            return [sign.join(group[:4]) + (sign + "…" if len(group) > 4 else "") for group in found]
        if kind == "blank":
            return self.kinds[kind]
        return [f"{skip.path}: {skip.reason}" for skip in self.skipped if skip.kind == kind]

    def _share(self, kind: str) -> float:
        return len(self.kinds[kind]) / max(self._base(kind), 1)

    def _base(self, kind: str) -> int:
        return self.found if kind in {"unreadable", "too small"} else self.examined

    def _of(self, kind: str) -> str:
        base = self._base(kind)
        sampled = " looked at" if base < self.usable else ""
        return f"{len(self.kinds[kind]):,} of {base:,} pictures{sampled} ({self._share(kind):.1%})"

    def _different(self) -> int:
        if self.examined < self.usable:  # what a sample holds twice says little of the number of all
            return self.usable
        return self.usable - len(self.kinds["duplicates"]) - len(self.kinds["near-duplicates"])

    def _on_number(self, *, shifted: bool) -> Iterator[Advice]:
        number = self._different()
        start = counted(number, "picture" if self.examined < self.usable else "different picture") + ": "
        more = "add more, several thousand are a good start"
        meanwhile = "meanwhile try --mirror where left and right do not matter"
        if not shifted:
            meanwhile += ", and --translate 0.0625 (the presets best and light shift by themselves)"
        if number < MIN_PICTURES:
            yield Advice("too few", number, f"{start}training needs at least {MIN_PICTURES}; {more}")
        elif number < FEW:
            yield Advice("too few", number, f"{start}so few are learnt by heart; {more}; {meanwhile}")
        elif number < SOME:
            yield Advice("too few", number, f"{start}enough to begin, but more help most; {meanwhile}")

    def _on_shares(self) -> Iterator[Advice]:
        for kind, rule in RULES.items():
            share = self._share(kind)
            if share > rule.above:
                text = rule.text.format(resolution=self.resolution, half=self.resolution // 2)
                yield Advice(kind, round(share, 4), f"{self._of(kind)} {text}")

    def _on_mixture(self) -> Iterator[Advice]:
        grey = self._share("grey")
        if 0.05 < grey < 0.95:
            text = "are grey and the others are not, so the generator has to learn both: keep one kind"
            yield Advice("grey", round(grey, 4), f"{self._of('grey')} {text}")
        if self.likeness < UNLIKE and MIN_PICTURES <= self._different() < MANY:
            yield Advice(
                "varied",
                round(self.likeness, 2),
                f"the pictures have little in common ({self.likeness:.2f}, where 1 is everything): one "
                "subject, centred and of one size, is learnt best, so leave out what is off it, or train on "
                f"one part; this only compares colours on a grid of {GRID}×{GRID}, not what is shown",
            )


def diagnose(
    resolution: int, found: int, looks: Sequence[tuple[str, Look]], skipped: Sequence[Skipped] = ()
) -> Diagnosis:
    """Draws together what was seen.

    Args:
        resolution: Side of the pictures as they were looked at.
        found: Number of pictures in the set.
        looks: Name and look of each picture that was looked at, in order.
        skipped: Pictures that could not be read.

    Returns:
        The findings; ``Diagnosis.advice`` says what they mean.
    """
    names: dict[bytes, list[str]] = defaultdict(list)
    for name, seen in looks:
        names[seen.digest].append(name)
    thumbnails = {seen.digest: seen.thumbnail for _, seen in looks}
    groups, likeness = compare(np.array([*thumbnails.values()], np.uint8).reshape(-1, GRID, GRID, 3))
    different = [same[0] for same in names.values()]
    near = [[different[k] for k in group] for group in groups]
    duplicates = [same for same in names.values() if len(same) > 1]
    sides = [(name, *seen.sides) for name, seen in looks if seen.sides]
    kinds = {
        kind: [skip.path for skip in skipped if skip.kind == kind] for kind in ("unreadable", "too small")
    }
    kinds |= {
        "duplicates": [name for same in duplicates for name in same[1:]],
        "near-duplicates": [name for group in near for name in group[1:]],
        "blank": [name for name, seen in looks if seen.blank],
        "enlarged": [name for name, short, _ in sides if short < resolution],
        # To the nearest hundredth: photographs are 3:2, give or take a pixel.
        "cropped": [name for name, short, long in sides if round(1 - short / long, 2) > 1 / 3],
        "transparent": [name for name, seen in looks if seen.transparent],
        "grey": [name for name, seen in looks if seen.grey],
    }
    return Diagnosis(
        resolution=resolution,
        found=found,
        examined=len(looks),
        skipped=list(skipped),
        shorter_side=_spread([short for _, short, _ in sides]),
        shape=_spread([long / short for _, short, long in sides]),
        kinds=kinds,
        duplicates=duplicates,
        near_duplicates=near,
        likeness=max(round(likeness, 4), 0.0),
    )


def brief(pixels: Pixels, *, shifted: bool = False) -> list[str]:
    """Returns advice on pictures that are in memory already, from a look at some hundred of them.

    Args:
        pixels: (N, H, W, 3) uint8, RGB.
        shifted: Whether they are shown to D shifted anyway.

    Returns:
        What to do, a line each.
    """
    n, side = len(pixels), pixels.shape[1]
    count = min(BRIEF, BRIEF * 128**2 // side**2)
    if n <= count:
        chosen = list(range(n))
    else:
        runs = count // _RUN
        chosen = [run * n // runs + k for run in range(runs) for k in range(_RUN)]
    seen = diagnose(side, n, [(str(k), look(pixels[k])) for k in chosen])
    return [one_line(advice.text) for advice in seen.advice(shifted=shifted)]
