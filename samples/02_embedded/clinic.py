"""A clinic's own app, with an agent inside: it keeps a table, and answers the questions that its policy admits.

    python clinic.py FOLDER NUMBER COORDINATOR

FOLDER is the agent's state folder, enrolled and with the owner's policy.toml in it; NUMBER says which clinic this is.
"""

import sys

from sklearn.datasets import load_diabetes
from sojourn.agent import Agent, Field

PATIENTS = {1: slice(0, 90), 2: slice(90, 240), 3: slice(240, 442)}  # of scikit-learn's 442 patients
AGE, PRESSURE = 0, 3  # columns of that table: years, and mean arterial pressure in mmHg

folder, number, coordinator = sys.argv[1], int(sys.argv[2]), sys.argv[3]
table = load_diabetes(scaled=False).data[PATIENTS[number]].astype("float32")
with Agent(folder, coordinator) as agent:
    if "patients" not in agent.streams.names():
        agent.streams.create("patients", {"age": Field("f32"), "bp": Field("f32")})
        agent.streams.append("patients", {"age": table[:, AGE], "bp": table[:, PRESSURE]})
    agent.serve()  # until Ctrl-C or SIGTERM
print("stopped; whatever runs goes on at the next start")
