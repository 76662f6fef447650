"""A program at its author's desk: run in process, step by step if wanted, on rows of the author's own.

Rules of this package:

* Effects on rows, tensors, graphs, releases and the log are carried out by the agent's own code (`sojourn.agent`).
  What only a coordinator can answer is asked at the console or read from a file.
* There is no network, no key and no signature; nothing stays on disk but what the author saves.
* What the machine does is what it does on an agent: same budgets, labels, releases, neutral elements.
"""

from sojourn.client.trial.answers import Answers, NoAnswer
from sojourn.client.trial.desk import Desk, DeskData, open_desk
from sojourn.client.trial.driver import Ended, Trial, TrialStopped
from sojourn.client.trial.saved import SavedRun, load_saved, save_run

__all__ = [
    "Answers",
    "Desk",
    "DeskData",
    "Ended",
    "NoAnswer",
    "SavedRun",
    "Trial",
    "TrialStopped",
    "load_saved",
    "open_desk",
    "save_run",
]
