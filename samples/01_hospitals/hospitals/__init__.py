"""Sample 01: five hospitals train one model on 429 real patients, and no row leaves a hospital.

Rules of this package:

* `settings` holds every number that was chosen; the other modules hold none.
* Everything that is random is a function of one seed, by numpy's PCG64: the same seed gives the same hospitals, the
  same held-out patients and the same order of rows on every machine.
* `graphs` makes the committed files of `plan/`; whoever runs the sample only reads those files.
"""
