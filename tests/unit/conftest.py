"""Makes ``builders`` importable from every unit test, whatever the folder pytest is started in."""

import sys
from pathlib import Path

_HERE = str(Path(__file__).parent)
if _HERE not in sys.path:
    sys.path.append(_HERE)
