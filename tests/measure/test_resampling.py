"""Figures under draws of images: the undrawn ones are those of `report`, the drawn ones those of the rows drawn."""

import math

import numpy as np
import pytest
import torch

from mixkd.measure import calibration, resampling


def made(n=600, k=10, views=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(k, (n,), generator=generator).repeat(views)
    logits = torch.randn(n * views, k, generator=generator) * 3
    logits[torch.arange(n * views), labels] += 3
    return logits, labels, torch.arange(n).repeat(views)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.5])
def test_the_undrawn_figures_are_those_of_report(temperature):
    logits, labels, images = made()
    found = resampling.resampled(logits, labels, images, temperature)
    for prefix, scale in (("", 1.0), ("ts_", temperature)):
        report = calibration.report(logits, labels, temperature=scale)
        for name in resampling.NAMES:
            assert found[f"{prefix}{name}"][0] == pytest.approx(getattr(report, name), abs=1e-9), name
    assert set(found) == {prefix + name for prefix in ("", "ts_") for name in resampling.NAMES}


def test_confidences_on_an_edge_fall_where_report_puts_them():
    labels = torch.arange(4) % 2
    logits = torch.tensor([[math.log(p / (1 - p)), 0.0] for p in (0.6, 0.8, 1 - 1e-9, 0.5)])
    found = resampling.resampled(logits, labels, torch.arange(4), 1.0)
    assert found["ece"][0] == pytest.approx(calibration.report(logits, labels).ece, abs=1e-9)


@pytest.mark.parametrize("views", [1, 3])
def test_a_draw_is_the_figure_of_the_drawn_rows(views):
    logits, labels, images = made(n=80, views=views)
    shares = resampling.weights(80)
    found = resampling.resampled(logits, labels, images, 1.7)
    for draw in (1, 17, 200):
        times = torch.from_numpy(np.rint(shares[draw] * 80).astype(int))[images]
        rows = torch.arange(len(images)).repeat_interleave(times)
        report = calibration.report(logits[rows], labels[rows], temperature=1.7)
        for name in resampling.NAMES:
            assert found[f"ts_{name}"][draw] == pytest.approx(getattr(report, name), abs=1e-9), name


def test_the_same_images_for_everyone():
    first, second = resampling.weights(50), resampling.weights(50)
    assert first is second or np.array_equal(first, second)
    assert first.shape == (resampling.DRAWS + 1, 50)
    assert np.allclose(first.sum(1), 1)
    assert np.array_equal(first[0], np.full(50, 1 / 50))
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_log_temperature_moves_as_a_new_fit_would():
    logits, labels, images = made(n=400, views=1)
    temperature = calibration.fit_temperature(logits, labels)
    found = resampling.log_temperature(logits, labels, images, temperature)
    assert found[0] == pytest.approx(math.log(temperature), abs=1e-6)
    shares = resampling.weights(400)
    again = []
    for draw in range(1, 31):
        rows = torch.arange(400).repeat_interleave(torch.from_numpy(np.rint(shares[draw] * 400).astype(int)))
        again.append(math.log(calibration.fit_temperature(logits[rows], labels[rows])))
    assert np.corrcoef(again, found[1:31])[0, 1] > 0.98
    assert found[1:31].std() == pytest.approx(np.std(again), rel=0.15)


def test_a_temperature_at_a_bound_was_not_fitted():
    labels = torch.arange(20) % 2
    logits = torch.nn.functional.one_hot(labels, 2).float()
    temperature = calibration.fit_temperature(logits, labels)
    assert np.ptp(resampling.log_temperature(logits, labels, torch.arange(20), temperature)) == 0
