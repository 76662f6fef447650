"""The breast cancer table of scikit-learn as five hospitals and a public held-out set.

569 patients, 30 measurements each of the cell nuclei in a fine needle aspirate (Street, Wolberg and Mangasarian,
"Nuclear feature extraction for breast tumor diagnosis", 1993). The label is 1 for malignant.

Rules of this module:

* Scaling uses `RANGES`: rounded intervals that a nucleus of breast tissue plausibly shows, written down once and known
  to everyone. They are not computed from these patients. Pooled means and deviations would be statistics that leave
  the hospitals without anybody having released them.
* A value outside its interval is kept, as a number outside -1 to 1. Nothing is cut off.
* Rows are shuffled once, here, because a program reads a stream in its own order in every pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from hospitals.settings import ALPHA, HELD_OUT, HOSPITALS, MIN_OF_EACH_DIAGNOSIS, MIN_PATIENTS

__all__ = ["FEATURES", "HOSPITALS", "RANGES", "ClinicalRange", "Patients", "Study", "load", "scale"]

MAX_DRAWS: Final = 10_000


class ClinicalRange(NamedTuple):
    """A public interval of one measurement; it is mapped to -1 … 1."""

    name: str
    low: float
    high: float
    meaning: str


# Lengths are in micrometres and areas in square micrometres, as the paper's digitised slides give them; the rest has no
# unit. "Mean" is over the nuclei of one aspirate, "error" the standard error of that mean, "worst" the mean of the
# three largest values. From geometry: a radius of 6 to 26 makes a perimeter of 40 to 170 and an area of 100 to 2000.
RANGES: Final = (
    ClinicalRange("mean radius", 6, 26, "centre to outline; a healthy nucleus is near 6, a very large one near 26"),
    ClinicalRange("mean texture", 10, 34, "deviation of the grey levels inside the nucleus"),
    ClinicalRange("mean perimeter", 40, 170, "2 pi radius"),
    ClinicalRange("mean area", 100, 2000, "pi radius squared"),
    ClinicalRange("mean smoothness", 0.06, 0.14, "local variation of the radius; a smooth outline is below 0.1"),
    ClinicalRange("mean compactness", 0.02, 0.30, "perimeter squared / area - 1, over 4 pi; a circle has 0"),
    ClinicalRange("mean concavity", 0.0, 0.4, "depth of the dents in the outline; a convex one has 0"),
    ClinicalRange("mean concave points", 0.0, 0.18, "share of the outline that is dented"),
    ClinicalRange("mean symmetry", 0.12, 0.26, "difference of chords on both sides of the long axis"),
    ClinicalRange("mean fractal dimension", 0.05, 0.09, "coastline dimension - 1"),
    ClinicalRange("radius error", 0.1, 1.5, "micrometres"),
    ClinicalRange("texture error", 0.4, 3.0, "grey levels"),
    ClinicalRange("perimeter error", 0.8, 11.0, "micrometres, about seven times the radius error"),
    ClinicalRange("area error", 5.0, 200.0, "square micrometres"),
    ClinicalRange("smoothness error", 0.002, 0.020, "about a tenth of the measurement"),
    ClinicalRange("compactness error", 0.002, 0.100, "up to a third of the measurement"),
    ClinicalRange("concavity error", 0.0, 0.15, "up to a third of the measurement"),
    ClinicalRange("concave points error", 0.0, 0.035, "up to a fifth of the measurement"),
    ClinicalRange("symmetry error", 0.008, 0.060, "up to a quarter of the measurement"),
    ClinicalRange("fractal dimension error", 0.001, 0.015, "up to a sixth of the measurement"),
    ClinicalRange("worst radius", 8, 34, "a third larger than the mean"),
    ClinicalRange("worst texture", 12, 44, "a third larger than the mean"),
    ClinicalRange("worst perimeter", 50, 220, "2 pi radius"),
    ClinicalRange("worst area", 150, 3200, "pi radius squared"),
    ClinicalRange("worst smoothness", 0.08, 0.20, "half as large again as the mean"),
    ClinicalRange("worst compactness", 0.03, 0.80, "two to three times the mean"),
    ClinicalRange("worst concavity", 0.0, 1.0, "two to three times the mean"),
    ClinicalRange("worst concave points", 0.0, 0.28, "half as large again as the mean"),
    ClinicalRange("worst symmetry", 0.16, 0.50, "up to twice the mean"),
    ClinicalRange("worst fractal dimension", 0.055, 0.140, "half as large again as the mean"),
)
FEATURES: Final = len(RANGES)


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """Rows of one place.

    Attributes:
        name: whose they are.
        x: float32 [rows, 30], scaled by `RANGES`.
        y: float32 [rows], 1 for malignant.
        rows: indices in scikit-learn's table, int64 [rows].
    """

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def malignant(self) -> int:
        """Number of malignant rows."""
        return int(self.y.sum())


@dataclass(frozen=True, slots=True)
class Study:
    """Who holds which patients under one seed.

    Attributes:
        seed: what everything here is a function of.
        hospitals: five, `hospital-1` to `hospital-5`.
        held_out: 140 patients of no hospital, public.
        pooled: all rows of the hospitals in one shuffled table. Only the central baseline sees it.
    """

    seed: int
    hospitals: tuple[Patients, ...]
    held_out: Patients
    pooled: Patients


def scale(raw: NDArray[np.float64]) -> NDArray[np.float32]:
    """Map measurements to -1 … 1 by the public ranges.

    Args:
        raw: [rows, 30] in the order of `RANGES`.

    Returns:
        float32 [rows, 30].
    """
    low = np.array([entry.low for entry in RANGES])
    high = np.array([entry.high for entry in RANGES])
    scaled: NDArray[np.float32] = ((raw - low) / (high - low) * 2.0 - 1.0).astype(np.float32)
    return scaled


def load(seed: int) -> Study:
    """The five hospitals and the held-out set of `seed` (0 … 2**32 - 1)."""
    table = load_breast_cancer()
    x = scale(table.data)
    y = (table.target == 0).astype(np.float32)  # scikit-learn's 0 is malignant

    def take(name: str, rows: NDArray[np.int64]) -> Patients:
        return Patients(name, x[rows], y[rows], rows)

    everyone = np.arange(len(y), dtype=np.int64)
    training, held_out = train_test_split(everyone, test_size=HELD_OUT, stratify=y, random_state=seed)
    random = np.random.default_rng(seed)
    shares = _draw_shares(random, training, y)
    return Study(
        seed=seed,
        hospitals=tuple(take(f"hospital-{k}", share) for k, share in enumerate(shares, 1)),
        held_out=take("held out", held_out),
        pooled=take("pooled", random.permutation(training)),
    )


def _draw_shares(
    random: np.random.Generator, training: NDArray[np.int64], y: NDArray[np.float32]
) -> list[NDArray[np.int64]]:
    """Deal the rows of each diagnosis out by a Dirichlet draw of its own, again until no hospital is too small."""
    for _ in range(MAX_DRAWS):
        dealt = [_deal(random, training[y[training] == diagnosis]) for diagnosis in (0.0, 1.0)]
        sizes = np.array([[len(part) for part in parts] for parts in dealt])
        if sizes.min() >= MIN_OF_EACH_DIAGNOSIS and sizes.sum(axis=0).min() >= MIN_PATIENTS:
            return [random.permutation(np.concatenate(parts)) for parts in zip(*dealt, strict=True)]
    raise ValueError(f"{MAX_DRAWS} draws gave no split in which each hospital has enough patients; raise ALPHA")


def _deal(random: np.random.Generator, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut shuffled `rows` into one piece for each hospital, with lengths in proportion to a Dirichlet draw."""
    shuffled = random.permutation(rows)
    shares = random.dirichlet([ALPHA] * HOSPITALS)
    cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(np.int64)
    return list(np.split(shuffled, cuts))
