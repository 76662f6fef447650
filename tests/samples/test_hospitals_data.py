"""Who holds which patients: all of them once, unevenly, as a function of the seed, scaled by public numbers only."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hospitals import data, settings
from sklearn.datasets import load_breast_cancer

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_patient_is_in_one_place(seed):
    study = data.load(seed)
    places = [*study.hospitals, study.held_out]
    assert len(study.hospitals) == 5
    assert len(study.held_out) == 140
    assert sum(len(place) for place in study.hospitals) == 429
    assert all(not set(a.rows) & set(b.rows) for a, b in combinations(places, 2))
    assert set().union(*(set(place.rows) for place in places)) == set(range(569))
    assert sorted(study.pooled.rows) == sorted(np.concatenate([h.rows for h in study.hospitals]))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_hospital_is_too_small_and_all_see_both_diagnoses(seed):
    for hospital in data.load(seed).hospitals:
        assert len(hospital) >= settings.MIN_PATIENTS
        assert hospital.malignant >= settings.MIN_OF_EACH_DIAGNOSIS
        assert hospital.malignant <= len(hospital) - settings.MIN_OF_EACH_DIAGNOSIS


@pytest.mark.parametrize("seed", SEEDS)
def test_hospitals_differ_in_size_and_in_diagnosis_mix(seed):
    hospitals = data.load(seed).hospitals
    sizes = [len(hospital) for hospital in hospitals]
    shares = [hospital.malignant / len(hospital) for hospital in hospitals]
    assert max(sizes) >= 2 * min(sizes)
    assert max(shares) - min(shares) >= 0.3


def test_the_held_out_set_has_the_shares_of_the_table():
    table_share = (load_breast_cancer().target == 0).mean()
    held_out = data.load(3).held_out
    assert held_out.malignant == round(140 * table_share)


def test_the_seed_decides_everything():
    one, same, other = data.load(7), data.load(7), data.load(8)
    for a, b in zip(
        (*one.hospitals, one.held_out, one.pooled), (*same.hospitals, same.held_out, same.pooled), strict=True
    ):
        np.testing.assert_array_equal(a.rows, b.rows)
        np.testing.assert_array_equal(a.x, b.x)
    assert set(one.held_out.rows) != set(other.held_out.rows)
    assert [len(h) for h in one.hospitals] != [len(h) for h in other.hospitals]


def test_arrays_are_what_streams_and_graphs_take():
    for place in (*data.load(0).hospitals, data.load(0).held_out):
        assert place.x.dtype == place.y.dtype == np.float32
        assert place.x.shape == (len(place), 30)
        assert place.y.shape == (len(place),)
        assert set(np.unique(place.y)) == {0.0, 1.0}


def test_labels_say_malignant():
    table, place = load_breast_cancer(), data.load(0).held_out
    assert table.target_names[0] == "malignant"
    np.testing.assert_array_equal(place.y == 1.0, table.target[place.rows] == 0)


def test_ranges_stand_in_the_order_of_the_table():
    assert [entry.name for entry in data.RANGES] == list(load_breast_cancer().feature_names)
    assert all(entry.low < entry.high and entry.meaning for entry in data.RANGES)


def test_scaling_of_a_row_does_not_depend_on_other_rows():
    raw = load_breast_cancer().data
    np.testing.assert_array_equal(data.scale(raw)[100:110], data.scale(raw[100:110]))
    low = np.array([[entry.low for entry in data.RANGES]])
    high = np.array([[entry.high for entry in data.RANGES]])
    np.testing.assert_allclose(data.scale(low), -1.0)
    np.testing.assert_allclose(data.scale(high), 1.0)


def test_ranges_are_not_statistics_of_the_table():
    """Rounded numbers: none is the least, greatest or mean value, or a quartile, of its column."""
    raw = load_breast_cancer().data
    pooled = np.vstack([raw.min(0), raw.max(0), raw.mean(0), np.quantile(raw, (0.25, 0.5, 0.75), axis=0)])
    for column, entry in enumerate(data.RANGES):
        nonzero = pooled[:, column][pooled[:, column] != 0.0]  # a concavity's 0 is geometry: an outline without dents
        for bound in (entry.low, entry.high):
            assert not np.isclose(nonzero, bound, rtol=1e-4).any(), entry.name


def test_ranges_fit_the_measurements():
    """Most values lie inside, and their spread fills the interval: neither squeezed nor torn apart."""
    scaled = data.scale(load_breast_cancer().data)
    assert (np.abs(scaled) <= 1.0).mean() > 0.97
    assert scaled.std(axis=0).min() > 0.15
