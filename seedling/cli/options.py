"""What the commands take: the API's vocabulary as options, called the same."""

from typing import Annotated

import typer

from seedling.vocabulary import Easing, Method, Motion, Shape, Still

SOURCE = "What grows them"
PLACE = "Where the picture is"
LOOK = "How it is shown"
FILE = "Where it goes"

Model = Annotated[
    str | None,
    typer.Option(
        help="A model file, or a folder of them, used in this process; the model that ships by default. "
        "With --url: the name of a model there.",
        rich_help_panel=SOURCE,
    ),
]
Url = Annotated[str | None, typer.Option(help="Ask the service at this address.", rich_help_panel=SOURCE)]
Key = Annotated[
    str | None,
    typer.Option(
        help="What a service with keys asks for; better in the environment than on the line.",
        envvar="SEEDLING_CLIENT_KEY",
        rich_help_panel=SOURCE,
    ),
]

To = Annotated[str | None, typer.Option(help="The seed to go to; with --t.", rich_help_panel=PLACE)]
Share = Annotated[float | None, typer.Option("--t", help="The share of the way, 0…1.", rich_help_panel=PLACE)]
Way = Annotated[
    Method | None,
    typer.Option("--method", help="Along the great circle, or straight.", rich_help_panel=PLACE),
]
With = Annotated[
    list[str] | None,
    typer.Option("--with", help="A seed to mix in; may be given again.", rich_help_panel=PLACE),
]
Weights = Annotated[
    str | None,
    typer.Option(help="A number for each seed of the mixture, such as 2,1.", rich_help_panel=PLACE),
]
Radius = Annotated[
    float | None,
    typer.Option(help="A neighbour, so far away: above 0 to 1.", rich_help_panel=PLACE),
]
Variant = Annotated[int | None, typer.Option(help="Which neighbour.", rich_help_panel=PLACE)]
Truncation = Annotated[
    float | None,
    typer.Option(help="How much of its own a picture keeps, 0…1.", rich_help_panel=PLACE),
]
Via = Annotated[
    list[str] | None, typer.Option(help="A seed on the way; may be given again.", rich_help_panel=PLACE)
]
Steps = Annotated[int | None, typer.Option(help="Frames in all; 8 by default.", rich_help_panel=PLACE)]
Pace = Annotated[
    Easing | None, typer.Option("--easing", help="How the speed changes.", rich_help_panel=PLACE)
]
Loop = Annotated[
    bool, typer.Option("--loop", help="Go on to where it began, for an endless film.", rich_help_panel=PLACE)
]

Size = Annotated[int | None, typer.Option(help="Side in pixels, 16…1024.", rich_help_panel=LOOK)]
CutOut = Annotated[Shape | None, typer.Option("--shape", help="What is cut out.", rich_help_panel=LOOK)]
Background = Annotated[
    str | None,
    typer.Option(help="Behind the shape: transparent, rgb, rrggbb or a CSS colour.", rich_help_panel=LOOK),
]
Quality = Annotated[int | None, typer.Option(help="Of webp, jpg, avif and mp4, 1…100.", rich_help_panel=LOOK)]
FrameMs = Annotated[int | None, typer.Option(help="How long a frame is shown, in ms.", rich_help_panel=LOOK)]

PictureFormat = Annotated[
    Still | None,
    typer.Option("--format", help="By default what --out ends in, or png.", rich_help_panel=FILE),
]
PathFormat = Annotated[
    Motion | None,
    typer.Option(
        "--format",
        help="By default what --out ends in, where png is a strip; a sheet, too, is a png.",
        rich_help_panel=FILE,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        "-f",
        help="Write over files whose names the command makes up; what --out names is written over anyhow.",
        rich_help_panel=FILE,
    ),
]
