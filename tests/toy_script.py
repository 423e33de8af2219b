"""An experiment as its command line runs it, training the toy: `python toy_script.py SCRIPT FLAG ...`."""

import runpy
import sys
from pathlib import Path

from toy import build_toy

from jaxcompare.training import learner

learner.build_model = build_toy
sys.argv.pop(0)
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
