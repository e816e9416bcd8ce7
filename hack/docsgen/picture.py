"""docs/images/job-path.svg: the path of a job, legible on light and dark, no fonts fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from docsgen.pages import DocsError

WIDTH: Final = 1200
HEIGHT: Final = 640
_TEXT: Final = 13  # pixels of a line of text; headings are larger
_WIDE: Final = 0.56  # mean width of a letter, in heights; generous, so that another font fits too

_LIGHT: Final = """
.page{fill:#ffffff}.edge{stroke:#d0d7de}
.box{fill:#f6f8fa;stroke:#8c959f}.soft{fill:#ffffff;stroke:#afb8c1}
.good{fill:#eaf5ec;stroke:#3f8f52}.bad{fill:#fdeeec;stroke:#cf4a3c}.wait{fill:#fdf5e0;stroke:#b98a1d}
.note{fill:#edf3fb;stroke:#4a7dbd}
.head{fill:#1f2328}.body{fill:#424a53}.number{fill:#ffffff}.dot{fill:#4a7dbd}
.line{stroke:#57606a}.lbad{stroke:#cf4a3c}.lwait{stroke:#b98a1d}.lnote{stroke:#4a7dbd}
.tip{fill:#57606a}.tbad{fill:#cf4a3c}.twait{fill:#b98a1d}.tnote{fill:#4a7dbd}
"""
_DARK: Final = """
.page{fill:#0d1117}.edge{stroke:#30363d}
.box{fill:#161b22;stroke:#6e7681}.soft{fill:#0d1117;stroke:#484f58}
.good{fill:#12261a;stroke:#4fae68}.bad{fill:#2d1513;stroke:#e5695c}.wait{fill:#2b2110;stroke:#d0a03a}
.note{fill:#111d2e;stroke:#6ba1e3}
.head{fill:#e6edf3}.body{fill:#b1bac4}.number{fill:#0d1117}.dot{fill:#6ba1e3}
.line{stroke:#9198a1}.lbad{stroke:#e5695c}.lwait{stroke:#d0a03a}.lnote{stroke:#6ba1e3}
.tip{fill:#9198a1}.tbad{fill:#e5695c}.twait{fill:#d0a03a}.tnote{fill:#6ba1e3}
"""
_SHAPE: Final = """
text{font-family:ui-sans-serif,system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.head{font-size:15px;font-weight:600}.body{font-size:13px}.number{font-size:12px;font-weight:700}
.line,.lbad,.lwait,.lnote{fill:none;stroke-width:1.8}.dash{stroke-dasharray:5 4}
rect{stroke-width:1.3}.page{stroke-width:1}
"""


def page() -> str:
    """The picture.

    Raises:
        DocsError: when a text is too long for its box.
    """
    parts = [_frame(), *_guards(), *_admission(), *_controller(), *_pod(), *_audit()]
    dark = f"@media (prefers-color-scheme: dark){{{_DARK}}}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'aria-labelledby="title desc">',
            '<title id="title">The path of a job</title>',
            f'<desc id="desc">{escape(_ALT)}</desc>',
            f"<style>{_SHAPE}{_LIGHT}{dark}</style>",
            f"<defs>{''.join(_tip(name) for name in ('line', 'lbad', 'lwait', 'lnote'))}</defs>",
            *parts,
            "</svg>",
        ]
    ) + ("\n")


_ALT: Final = (
    "A job is applied. Admission decides: a breach is refused at apply, a missing fact holds the job. The controller "
    "decides again, makes and reads back the controls, holds the audit receipt, and creates the Job last. In the pod "
    "the seal probe runs first, then the sidecar, then the user's container. Everything is recorded in a hash chain."
)


def _guards() -> list[str]:
    return [
        _rect(24, 20, 1152, 40, "note"),
        _text(40, 45, "Guard policies in the API server", "head"),
        _text(
            330,
            45,
            "labels, sidecar, volumes, network, names, deletion: they hold with every process of the operator dead",
        ),
    ]


def _admission() -> list[str]:
    return [
        *_box(24, 112, 180, ["kubectl apply", "TrainingJob or", "InferenceJob"], "box"),
        _arrow([(204, 152), (262, 152)], "line"),
        *_box(
            264,
            92,
            210,
            ["Admission decides", "reads all that it names,", "runs every rule,", "stamps who asked"],
            "box",
        ),
        # Deny goes back to the person, Hold waits.
        _arrow([(300, 188), (300, 230), (114, 230), (114, 272)], "lbad"),
        _text(176, 221, "Deny"),
        *_box(24, 274, 180, ["Refused at apply", "rule, field, source,", "what to change"], "bad"),
        _arrow([(369, 188), (369, 272)], "lwait"),
        _text(379, 234, "Hold"),
        *_box(264, 274, 210, ["Held", "accepted, nothing runs,", "resolves by itself"], "wait"),
        _arrow([(474, 314), (528, 314)], "lwait", dashed=True),
        _arrow([(474, 142), (528, 142)], "line"),
        _text(482, 133, "Allow"),
    ]


def _controller() -> list[str]:
    steps = (
        ("decides again,", "now and at every change"),
        ("floor: default deny", "for the whole namespace"),
        ("its NetworkPolicy, account", "without token, decision"),
        ("controls read back,", "strict dry run of the pod"),
        ("holds the receipt of", "the collector"),
        ("Job or Deployment, last", ""),
    )
    out = [_rect(530, 92, 270, 344, "box"), _text(546, 118, "Controller", "head")]
    for index, (one, two) in enumerate(steps):
        y = 146 + index * 50
        out += [
            f'<circle class="dot" cx="560" cy="{y - 1}" r="11"/>',
            f'<text class="number" x="560" y="{y + 3}" text-anchor="middle">{index + 1}</text>',
            _text(582, y + (3 if not two else -4), one, limit=206),
            *([_text(582, y + 13, two, limit=206)] if two else []),
        ]
    return out


def _pod() -> list[str]:
    return [
        _arrow([(800, 395), (834, 395), (834, 160), (852, 160)], "line"),
        _rect(854, 92, 322, 344, "soft"),
        _text(870, 118, "Pod", "head"),
        _text(912, 118, "network sealed, no token"),
        *_box(872, 134, 286, ["1  Seal probe", "ends only when a forbidden address", "is seen to be refused"], "good"),
        _arrow([(1015, 212), (1015, 231)], "line"),
        *_box(
            872,
            232,
            286,
            ["2  Accountant or gateway", "sidecar with a durable log,", "under a user id of its own"],
            "good",
        ),
        _arrow([(1015, 310), (1015, 329)], "line"),
        *_box(
            872,
            330,
            286,
            ["3  Trainer or model server", "your container: starts once the", "sidecar says that it is ready"],
            "box",
        ),
    ]


def _audit() -> list[str]:
    out = [
        *_box(530, 508, 270, ["Collector", "one hash chain per writer,", "on disk before it says so"], "note"),
        # Who writes, and how.
        *_box(264, 508, 210, ["Admission", "records its answers,", "without waiting"], "soft"),
        _arrow([(474, 547), (528, 547)], "lnote", dashed=True),
        _arrow([(650, 436), (650, 506)], "lnote"),
        _text(660, 466, "record"),
        _arrow([(606, 506), (606, 436)], "lnote"),
        _text(544, 466, "receipt"),
        _arrow([(770, 506), (770, 472), (1015, 472), (1015, 438)], "lnote"),
        _text(784, 464, "pulls the log, confirms the seal"),
        _arrow([(800, 547), (852, 547)], "lnote"),
    ]
    for index in range(3):
        x = 854 + index * 76
        out += [
            _rect(x, 525, 56, 44, "note"),
            _text(x + 28, 552, f"n-{index}" if index else "n", "body", middle=True),
        ]
        if index:
            out.append(_arrow([(x - 20, 547), (x - 1, 547)], "lnote"))
    out += [
        _text(1078, 540, "mlprivacy", "head"),
        _text(1078, 560, "verify", "head"),
        _text(854, 596, "each record holds the hash of the one before"),
    ]
    return out


# --- shapes ----------------------------------------------------------------------------------------------------------


def _frame() -> str:
    return f'<rect class="page edge" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10"/>'


def _rect(x: int, y: int, width: int, height: int, style: str) -> str:
    return f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'


def _box(x: int, y: int, width: int, lines: Sequence[str], style: str) -> list[str]:
    """A box with a heading and lines; as high as it needs."""
    out = [_rect(x, y, width, 24 + 18 * len(lines), style)]
    for index, line in enumerate(lines):
        out.append(
            _text(
                x + 16, y + 25 + 18 * index + (1 if index else 0), line, "body" if index else "head", limit=width - 28
            )
        )
    return out


def _text(x: int, y: int, text: str, style: str = "body", *, limit: int = WIDTH, middle: bool = False) -> str:
    size = _TEXT + (2 if style == "head" else 0)
    if len(text) * size * _WIDE > min(limit, WIDTH - 24 - x):
        raise DocsError(f"The text {text!r} of the picture is too long for its place; shorten it.")
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text class="{style}" x="{x}" y="{y}"{anchor}>{escape(text)}</text>'


def _arrow(points: Sequence[tuple[int, int]], style: str, *, dashed: bool = False) -> str:
    """A line with a tip at its end."""
    path = "M" + " L".join(f"{x} {y}" for x, y in points)
    dash = " dash" if dashed else ""
    return f'<path class="{style}{dash}" d="{path}" marker-end="url(#{style}-tip)"/>'


def _tip(style: str) -> str:
    fill = {"line": "tip", "lbad": "tbad", "lwait": "twait", "lnote": "tnote"}[style]
    return (
        f'<marker id="{style}-tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path class="{fill}" d="M0 0 L10 5 L0 10 z"/></marker>'
    )
