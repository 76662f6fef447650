"""The lattice of private sources, and clearances.

Rules of this package:

* A label is the set of private sources that a box, a handle or a stream depends on; `PUBLIC` is the empty set.
* Labels only grow by `join`. Nothing in this package takes a source away: that is a release, done by a host.
"""

from sojourn.labels.lattice import PUBLIC, Label

__all__ = ["PUBLIC", "Label"]
