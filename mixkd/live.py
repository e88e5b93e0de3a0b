"""What a kernel can do and a page cannot: choose settings, train a student, see it join the figure.

Widgets and callbacks only; training is `runs.run`, the figure is the same lab the page shows. No `interact`, which would hang papermill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from mixkd.figures import lab_of, vicinal_of, world_of
from mixkd.records import Record
from mixkd.runs import run
from mixkd.spec import ARMS, RunSpec, nearest
from mixkd.store import RecordStore
from mixkd.studies import load_profile, one

FIGURES: dict[str, Callable[[Sequence[Record], str], Any]] = {
    "lab": lambda records, first: lab_of(records, name="live"),
    "world": lambda records, first: world_of(records, name="live", first=first),
    "path": lambda records, first: vicinal_of(records, name="live", first=first),
}
"""What a workbench can show of its students, given the id of the one that was chosen last."""


class Workbench:
    """Settings, a button that trains with them, and a live figure of all students chosen so far.

    Attributes:
        box: the widget to display.
        records: what was trained (or found), in order.
        store, known: stores (or None) whose students join the figure as soon as the controls describe one, without training.
        arm, tau, alpha, seed: the controls; ``tau`` and ``alpha`` are enabled where the arm uses them.
        train: the button.
        message: what the last press came to.
    """

    def __init__(self, profile: str, store: str | Path, figure: str = "lab", known: str | Path | None = None) -> None:
        if figure not in FIGURES:
            raise ValueError(f"figure {figure!r}: must be one of {', '.join(FIGURES)}{nearest(figure, FIGURES)}")
        self.profile, self.store = load_profile(profile), store
        first = self.profile.spec("kd_mixup", self.profile.first_seed)
        self.known = known
        self._draw = FIGURES[figure]
        self.records: list[Record] = []
        simple = [arm for arm in ARMS.values() if arm.name != "kd_clean_ce_mixed"]
        self.arm = widgets.Dropdown(options=[(arm.label, arm.name) for arm in simple], value="kd_mixup", description="trained with")
        self.tau = widgets.FloatLogSlider(
            value=2.0 if isinstance(first.tau, str) else first.tau,
            base=2, min=-1, max=4, step=0.5, description="τ", readout_format=".2f", continuous_update=False,
        )  # fmt: skip
        self.alpha = widgets.FloatSlider(value=first.alpha, min=0, max=4, step=0.1, description="α", continuous_update=False)
        self.seed = widgets.BoundedIntText(value=first.seed, min=0, max=2**31 - 1, description="seed")
        self.train = widgets.Button(description="train", button_style="primary", tooltip="train a student with these settings")
        self.message = widgets.HTML()
        self.figure = widgets.Output()
        for control in (self.arm, self.tau, self.alpha, self.seed):
            control.observe(self._choose, "value")
        self.train.on_click(self._train)
        controls = widgets.VBox([self.arm, self.tau, self.alpha, self.seed, self.train, self.message])
        self.box = widgets.VBox([controls, self.figure])
        self._choose()

    def spec(self) -> RunSpec:
        """Return the run that the controls describe; everything else comes from the profile, as in its studies and `mixkd run`."""
        arm = ARMS[self.arm.value]
        tau = self.tau.value if arm.distils else None
        alpha = round(self.alpha.value, 6) if arm.mixes else None  # 0.1 + 0.2 of a slider is the 0.3 of a study
        return one(self.profile.name, arm=arm.name, seed=self.seed.value, tau=tau, alpha=alpha)

    def _choose(self, change: object = None) -> None:
        """Enable the controls that the arm uses, and show the student if it was trained before."""
        arm = ARMS[self.arm.value]
        self.tau.disabled, self.alpha.disabled = not arm.distils, not arm.mixes
        spec = self.spec()
        here = next((record for record in self.records if record.id == spec.id), None)
        for place in (self.store, self.known):
            if here is None and place is not None:
                here = next(iter(RecordStore(place).find([spec])), None)
        if here is not None:
            self._join(here)
        else:
            self.message.value = "no student was trained with these settings yet"

    def _train(self, button: object = None) -> None:
        self.train.disabled = True
        self.message.value = "training ..."
        try:
            self._join(run(self.spec(), self.store))  # not inside the Output widget: that would swallow the error
        except (ValueError, RuntimeError, OSError) as error:
            self.message.value = str(error)
        finally:
            self.train.disabled = False

    def _join(self, record: Record) -> None:
        """Add a student, if it is new, and draw the figure with it in front."""
        joined = self.records if record.id in {known.id for known in self.records} else [*self.records, record]
        try:
            shown = self._draw(joined, record.id)
        except ValueError as error:  # such as a record without what this figure draws
            self.message.value = str(error)
            return
        self.records[:] = joined
        self.message.value = f"{len(self.records)} students; the last has record {record.id}"
        self.figure.outputs = ()
        self.figure.append_display_data(shown)

    def _ipython_display_(self) -> None:
        display(self.box)


def workbench(profile: str = "digits", store: str | Path = "runs", *, figure: str = "lab", known: str | Path | None = None) -> Workbench:
    """Return a :class:`Workbench` for a profile; it keeps students in a store of your own, never among the committed records.

    Args:
        profile: gives everything the controls do not.
        store: where students trained here are kept; those already in it, from `mixkd run` or a study, join without training.
        figure: "lab" (temperature), "world" (decision fields, data of the plane only), "path" (vicinal).
        known: another store whose students join without training, such as "committed".

    Raises:
        ValueError: for another figure, or an unknown profile.
    """
    return Workbench(profile, store, figure, known)
