"""Worlds made by hand, in which the truth about a claim is known: a store that holds whatever a test says was trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mixkd.claims import Verdict, judge
from mixkd.claims.evidence import Evidence
from mixkd.spec import RunSpec
from mixkd.store import RecordStore
from mixkd.studies import Cell, Profile, study
from mixkd.vicinal import LAM_GRID

K = 6
Tensors = dict[str, Tensor]
Made = Callable[[RunSpec], Tensors | None]
RANK = {"supported": 2, "unresolved": 1, "not run": 1, "depends": 0, "not supported": 0, "premise not met": 0}
TINY = Profile(
    name="tiny", title="made by hand", data="digits", student="cnn8", wider_student="cnn16", teachers=("cnn16", "cnn32"),
    seeds=4, sweep_seeds=4, teacher_seeds=4, taus=(1.0, 2.0, 4.0), minutes=1, recipe={}, teacher_recipe={},
)  # fmt: skip
DEFAULT, OTHER = "cnn32", "cnn16"


@dataclass
class World:
    """A store and a profile; `train` fills it."""

    store: RecordStore
    profile: Profile = field(default=TINY)

    def train(self, names: str | Iterable[str], made: Made, teachers: Made | None = None) -> None:
        """Write the records of studies, and of their teachers, where `made` and `teachers` give any."""
        specs = [spec for name in ([names] if isinstance(names, str) else names) for spec in study(name, "tiny")]
        self.put(specs, made)
        runs = (run for spec in specs if (run := spec.teacher_run()) is not None)
        self.put(runs, teachers or teacher)

    def put(self, specs: Iterable[RunSpec], made: Made) -> None:
        for spec in dict.fromkeys(specs):
            if (tensors := made(spec)) is not None:
                self.store.put(
                    spec, tensors, lam=LAM_GRID, classes=list(map(str, range(K))), curve=[], provenance={}, weights={"w": torch.zeros(1)}
                )

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.profile, self.store)

    def judge(self, letter: str, cell: Cell | None = None) -> Verdict:
        verdict = judge(letter, self.evidence, cell)
        assert verdict.claim == letter
        assert RANK[verdict.attributed] <= RANK[verdict.as_stated]  # whatever the records say
        return verdict


def noise(spec: RunSpec, *what: object) -> float:
    """A standard normal number, the same for the same run and purpose."""
    return float(np.random.default_rng(list(f"{spec.id}/{what}".encode())).normal())


def split(accuracy: float, sharpness: float, n: int, sure: float = 0.98, unsure: float = 0.6) -> tuple[Tensor, Tensor]:
    """Logits and labels of a model whose logits are `sharpness` times calibrated ones; models differ in few images, as trained ones do."""
    number = torch.arange(n, dtype=torch.float64)
    difficulty, luck = (number * 0.6180339887) % 1, (number * 0.7548776662) % 1
    confidence = torch.where(difficulty < (sure - accuracy) / (sure - unsure), unsure, sure).double()
    labels = torch.arange(n) % K
    answer = torch.where(luck < confidence, labels, (labels + 1) % K)
    height = (confidence / (1 - confidence) * (K - 1)).log() * sharpness
    return torch.zeros(n, K, dtype=torch.float64).scatter(1, answer[:, None], height[:, None]).float(), labels


def answers(accuracy: float, sharpness: float = 1.0, *, val: float | None = None, n: int = 4000, tilt: Tensor | None = None) -> Tensors:
    """Answers on test and, with sharpness `val`, on validation data; `tilt` (n,) is added to the top logit of each test image."""
    test, labels = split(accuracy, sharpness, n)
    if tilt is not None:
        test = test.scatter_add(1, test.argmax(1, keepdim=True), tilt[:, None].float())
    held_out, others = split(accuracy, sharpness if val is None else val, 2000)
    return {"logits.test": test, "labels.test": labels, "logits.val": held_out, "labels.val": others}


TEACHER = 0.92
SHARP = 2.0
"""How many times too sharp the teachers' logits are: the temperature that is fitted to them."""


def teacher(spec: RunSpec, accuracy: float = TEACHER, sharpness: float = SHARP, by_heart: bool = False, n: int = 4000) -> Tensors:
    """A teacher that is as good on its students' images as on test images, unless it has learnt them by heart."""
    train, labels = split(0.98 if by_heart else accuracy, 1.0 if by_heart else sharpness, 400)
    made = answers(accuracy + 0.002 * noise(spec, "a"), sharpness, n=n)
    return made | {"logits.train": train, "labels.train": labels}


def jittered(spec: RunSpec, accuracy: float, sharpness: float, jitter: float = 0.002, n: int = 4000, val: float | None = None) -> Tensors:
    """Answers with seed noise in both."""
    return answers(accuracy + jitter * noise(spec, "a"), sharpness * math.exp(5 * jitter * noise(spec, "s")), n=n, val=val)
