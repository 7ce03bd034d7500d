"""Beads that clump: the twin's kinetics against Smoluchowski's closed forms, and the statistics of known clusters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.analysis.aggregation import (
    Cluster,
    Piece,
    TimePoint,
    bead_area_um2,
    clusters_of,
    growth,
    look_at,
    pieces_of,
    statistics,
)
from device.records import Classification, Particle
from device.twin.aggregation import BeadSuspension, Coagulation
from device.twin.chamber import Chamber, Clump, joined

FIELD_UM = (2000.0, 2000.0)


def sticky(**changes: float) -> BeadSuspension:
    return BeadSuspension(**{"background_sticking": 0.05, "bridging": 0.5, **changes})  # type: ignore[arg-type]


def test_the_number_of_clusters_falls_as_smoluchowski_says_for_a_constant_kernel() -> None:
    sample, rng, seconds = sticky(), np.random.default_rng(1), 1200.0
    half = sample.meetings_per_s * 0.05 * seconds / 2
    left = []
    for _ in range(20):
        chain = Coagulation(sample, 1000, 0, rng)
        chain.bonds(seconds)
        left.append(chain.clusters)
    expected = 1000 / (1 + half)
    assert 0.1 < half < 1
    assert np.mean(left) == pytest.approx(expected, abs=4 * np.std(left) / math.sqrt(len(left)))


def test_where_a_time_is_cut_in_two_doesnt_matter() -> None:
    sample, rng = sticky(), np.random.default_rng(2)

    def clusters(parts: int) -> np.ndarray:
        chains = [Coagulation(sample, 400, 0, rng) for _ in range(60)]
        for chain in chains:
            for _ in range(parts):
                chain.bonds(1200.0 / parts)
        return np.array([chain.clusters for chain in chains])

    one, many = clusters(1), clusters(12)
    assert abs(one.mean() - many.mean()) < 4 * math.hypot(one.std(), many.std()) / math.sqrt(60)


def test_analyte_makes_no_more_bonds_than_there_is_of_it_and_makes_them_fast() -> None:
    sample = BeadSuspension(background_sticking=0.0, bridging=0.5)
    chain = Coagulation(sample, 2000, 40, np.random.default_rng(3))
    first = chain.bonds(600.0)
    assert 15 < first < 40
    chain.bonds(1e6)
    assert (chain.free, chain.clusters) == (0, 1960)


def test_without_anything_that_sticks_nothing_does() -> None:
    chain = Coagulation(BeadSuspension(background_sticking=0.0), 500, 0, np.random.default_rng(4))
    assert chain.bonds(1e6) == 0


def test_cluster_sizes_in_the_chamber_follow_the_closed_form() -> None:
    sample = sticky(beads_per_ul=250.0)
    found = np.zeros(8)
    total = 0
    for seed in range(4):
        chamber = Chamber(sample, (1200.0, 1200.0), 100.0, 1000.0, 3.0, np.random.default_rng(seed))
        total += len(chamber.clumps)
        chamber.advance(1200.0)
        sizes = [len(clump.radii_um) for clump in chamber.clumps]
        assert sum(sizes) == chamber._coagulation.beads
        found += np.bincount(np.minimum(sizes, 7), minlength=8)
    tau = sample.meetings_per_s * 0.05 * 1200.0 / 2
    expected = [total * tau ** (k - 1) / (1 + tau) ** (k + 1) for k in range(1, 4)]
    for k, mean in enumerate(expected, start=1):
        assert found[k] == pytest.approx(mean, abs=4 * math.sqrt(mean))


def test_clumps_are_beads_that_touch_and_dont_overlap_and_lie_flat() -> None:
    rng = np.random.default_rng(5)
    one = Clump(np.zeros((1, 3)), np.array([5.0]), np.array([0.12]))
    clump = one
    for count in range(2, 7):
        clump = joined(clump, one, rng)
        apart = np.linalg.norm(clump.beads_um[:, None] - clump.beads_um[None], axis=2)[np.triu_indices(count, 1)]
        assert apart.min() == pytest.approx(10.0, abs=1e-6)
        assert (apart < 10.0 + 1e-6).sum() >= count - 1
        spread = clump.beads_um.std(axis=0)
        assert spread[2] <= spread[:2].max() + 1e-9
        if count <= 3:
            assert spread[2] == pytest.approx(0.0, abs=1e-9)


def patch(x_um: float, mask: np.ndarray) -> Particle:
    box = (round(x_um / 3), 100, mask.shape[1], mask.shape[0])
    return Particle(x_um, 300.0, 1000.0, 1.0, box, 1.0, 0.1, {"touches_edge": 0.0}, mask, (mask + 0j).astype(np.complex64) * 2)


def square(x_um: float, side_px: int) -> Particle:
    return patch(x_um, np.ones((side_px, side_px), bool))


def two_blobs(x_um: float, apart_um: float) -> Particle:
    """Two beads of 10 um on pixels of 3 um, their middles so far apart, as a blurred field shows them."""
    y, x = np.mgrid[-9:10, -9:10] * 3.0
    contrast = sum(np.exp(-((x - s * apart_um / 2) ** 2 + y**2) / (2 * 4.0**2)) for s in (-1, 1))
    mask = contrast > 0.3
    field = np.where(mask, 1 + contrast, 1).astype(np.complex64)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    whole = patch(x_um, mask[box])
    return replace(whole, field_crop=field[box])


PLAIN = Classification("particle", 1.0, {"particle": 1.0}, ("particle",))


def named(label: str) -> Classification:
    labels = ("bead", "dimer", "trimer", "cluster", "dust")
    return Classification(label, 1.0, {known: float(known == label) for known in labels}, (label,))


def test_without_a_classifier_area_tells_how_many_beads_a_cluster_holds() -> None:
    particles = [square(300.0 * k, 4) for k in range(1, 8)] + [two_blobs(3000.0, 10.0), square(3300.0, 7)]
    clusters, debris = clusters_of(pieces_of(particles, [PLAIN] * 9, 3.0), 10.0)
    assert [round(c.beads) for c in clusters] == [1] * 7 + [2, 3]
    assert debris == 0


@pytest.mark.parametrize(("apart_um", "expected"), [(10.0, [2.0]), (13.0, [1.0, 1.0]), (15.0, [1.0, 1.0]), (3.0, [1.0])])
def test_a_pair_is_bound_where_its_beads_lie_a_diameter_apart(apart_um: float, expected: list[float]) -> None:
    clusters, _ = clusters_of(pieces_of([two_blobs(300.0, apart_um)], [named("dimer")], 3.0), 10.0)
    assert [c.beads for c in clusters] == expected


def test_a_classifier_names_small_clusters_and_leaves_debris_out() -> None:
    names = [named(label) for label in ("bead", "bead", "dimer", "trimer", "cluster", "dust", "unknown")]
    sides = [square(300.0 * k, side) for k, side in enumerate((4, 4, 5, 6, 9, 6, 4), start=1)]
    particles = [*sides[:2], two_blobs(900.0, 10.0), *sides[3:]]
    clusters, debris = clusters_of(pieces_of(particles, names, 3.0), 10.0)
    assert [c.beads for c in clusters] == pytest.approx([1, 1, 2, 3, 81 / 16])
    assert debris == 2


def test_pieces_that_touch_a_clump_are_of_it_and_beads_that_were_told_apart_are_not_bound() -> None:
    particles = [square(300.0, 4), square(312.0, 4), square(600.0, 6), square(618.0, 4)]
    names = [named("bead"), named("bead"), named("trimer"), named("bead")]
    clusters, _ = clusters_of(pieces_of(particles, names, 3.0), 10.0)
    assert sorted(c.beads for c in clusters) == [1, 1, 4]


def test_what_the_border_cuts_is_left_out() -> None:
    cut = square(300.0, 4)
    cut.features["touches_edge"] = 1.0
    assert pieces_of([cut, square(900.0, 4)], [named("bead")] * 2, 3.0)[0].x_um == 900.0


def test_the_commonest_area_is_a_single_beads() -> None:
    rng = np.random.default_rng(6)
    areas = np.concatenate([rng.normal(135, 12, 80), rng.normal(235, 20, 40), rng.normal(340, 30, 15)])
    assert bead_area_um2(areas) == pytest.approx(135, abs=12)
    assert math.isnan(bead_area_um2([]))


def spread(sizes: list[float], seed: int = 0) -> list[Cluster]:
    rng = np.random.default_rng(seed)
    return [Cluster(*rng.uniform(0, 2000, 2).tolist(), size) for size in sizes]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_statistics_of_known_clusters(sizes: list[int]) -> None:
    found = statistics(look_at(spread([float(s) for s in sizes]), FIELD_UM, 0.0))
    assert found is not None
    total = sum(sizes)
    assert found.beads == pytest.approx(total)
    assert found.mean_size == pytest.approx(total / len(sizes))
    assert found.weighted_mean_size == pytest.approx(sum(s * s for s in sizes) / total)
    assert found.share_clustered == pytest.approx(1 - sizes.count(1) / total)


def test_an_empty_look_has_no_statistics_and_no_growth() -> None:
    empty = look_at([], FIELD_UM, 0.0)
    assert statistics(empty) is None
    assert growth([empty, empty], 600.0) is None


def test_growth_is_the_slope_of_the_mean_size_over_the_duration() -> None:
    looks = [look_at(spread([1.0] * (100 - 10 * k) + [2.0] * (5 * k)), FIELD_UM, 100.0 * k) for k in range(4)]
    sizes = [100 / (100 - 5 * k) for k in range(4)]
    through = sum(k * (m - 1) for k, m in enumerate(sizes)) / sum(k * k for k in range(4)) * 6
    found = growth(looks, 600.0)
    assert found is not None
    assert found.bonds_per_bead == pytest.approx(through)
    assert found.looks == 4


def test_half_of_what_is_clumped_from_the_start_is_taken_to_stay() -> None:
    same = [look_at(spread([1.0] * 80 + [2.0] * 10), FIELD_UM, 100.0 * k) for k in range(5)]
    found = growth(same, 400.0)
    assert found is not None
    assert found.bonds_per_bead == pytest.approx(0.5 * (100 / 90 - 1) * (1 + 2 + 3 + 4) / (1 + 4 + 9 + 16) * 4)


def test_where_no_bond_was_seen_one_in_all_beads_is_still_possible() -> None:
    found = growth([look_at(spread([1.0] * 200), FIELD_UM, 100.0 * k) for k in range(3)], 200.0)
    assert found is not None
    assert (found.bonds_per_bead, found.scatter) == (pytest.approx(0, abs=1e-12), pytest.approx(1 / 200))
    # One in the first look too, of which a half may stay or go.
    begun = 0.5 / 200 * (1 + 2) / (1 + 4) * 2
    assert found.uncertainty == pytest.approx(math.hypot(1 / 200, begun))


def test_the_bootstrap_over_tiles_says_how_much_chambers_scatter() -> None:
    rng = np.random.default_rng(7)
    rises, told = [], []
    for seed in range(60):
        clumped = [int(rng.poisson(3 * k)) for k in range(4)]
        looks = [
            look_at(spread([1.0] * (150 - 2 * n) + [2.0] * n, seed=100 * seed + k), FIELD_UM, 400.0 * k)
            for k, n in enumerate(clumped)
        ]
        found = growth(looks, 1200.0)
        assert found is not None
        rises.append(found.bonds_per_bead)
        told.append(found.uncertainty)
    assert np.mean(told) == pytest.approx(np.std(rises), rel=0.35)


def test_pieces_survive_json() -> None:
    import msgspec

    piece = pieces_of([square(300.0, 4)], [named("dimer")], 3.0)[0]
    assert msgspec.json.decode(msgspec.json.encode(piece), type=Piece) == piece


@pytest.mark.parametrize("pairs", [3.0, 8.0])
def test_the_growth_of_a_blank_holds_none_and_its_scatter_is_that_of_blanks(pairs: float) -> None:
    """Beads that lie side by side by chance, elsewhere at every look; no bond is formed."""
    rng, tiles, beads, found = np.random.default_rng(5), 16, 300, []
    for _ in range(300):
        looks = []
        for k in range(5):
            number = np.bincount(rng.integers(0, tiles, beads), minlength=tiles).astype(float)
            clusters = number - np.bincount(rng.integers(0, tiles, rng.poisson(pairs)), minlength=tiles)
            figures = {"beads": number.tolist(), "clusters": clusters.tolist(), "singles": clusters.tolist()}
            looks.append(TimePoint(elapsed_s=300.0 * k, squares=number.tolist(), **figures))
        grown = growth(looks, 1200.0)
        assert grown is not None
        found.append((grown.bonds_per_bead, grown.uncertainty, grown.scatter))
    rises, told, scatters = np.array(found).T
    assert np.mean(np.abs(rises) <= 1.96 * told) >= 0.93
    assert 0.91 <= np.mean(np.abs(rises - rises.mean()) <= 1.96 * scatters) <= 0.985
