"""What a kernel can do and a page cannot: choose settings, train a student, see it join the figure.

Widgets and callbacks only; training is `runs.run`, the figure is the same lab the page shows. No `interact`, which would hang papermill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from mixkd.figures import lab_of
from mixkd.records import Record
from mixkd.runs import run
from mixkd.spec import ARMS, RunSpec
from mixkd.studies import load_profile


class Workbench:
    """Settings, a button that trains with them, and the temperature lab over all students trained so far.

    Attributes:
        box: the widget to display.
        records: what was trained (or found), in order.
        arm, tau, alpha, seed: the controls; ``tau`` and ``alpha`` are enabled where the arm uses them.
        train: the button.
        message: what the last press came to.
    """

    def __init__(self, profile: str, store: str | Path) -> None:
        self.profile, self.store = load_profile(profile), store
        self.records: list[Record] = []
        simple = [arm for arm in ARMS.values() if arm.name != "kd_clean_ce_mixed"]
        self.arm = widgets.Dropdown(options=[(arm.label, arm.name) for arm in simple], value="kd_mixup", description="trained with")
        self.tau = widgets.FloatLogSlider(value=2, base=2, min=-1, max=4, step=0.5, description="τ", readout_format=".2f")
        self.alpha = widgets.FloatSlider(value=1, min=0, max=4, step=0.1, description="α")
        self.seed = widgets.BoundedIntText(value=0, min=0, max=999, description="seed")
        self.train = widgets.Button(description="train", button_style="primary", tooltip="train a student with these settings")
        self.message = widgets.HTML()
        self.figure = widgets.Output()
        self.arm.observe(self._enable, "value")
        self.train.on_click(self._train)
        controls = widgets.VBox([self.arm, self.tau, self.alpha, self.seed, self.train, self.message])
        self.box = widgets.VBox([controls, self.figure])

    def spec(self) -> RunSpec:
        """The run that the controls describe; everything else comes from the profile."""
        arm = ARMS[self.arm.value]
        given: dict[str, Any] = {}
        if arm.distils and self.tau.value != 2:
            given["tau"] = self.tau.value
        if arm.mixes and self.alpha.value != 1:
            given["alpha"] = self.alpha.value
        return self.profile.spec(arm.name, self.seed.value, **given)

    def _enable(self, change: object = None) -> None:
        arm = ARMS[self.arm.value]
        self.tau.disabled, self.alpha.disabled = not arm.distils, not arm.mixes

    def _train(self, button: object = None) -> None:
        self.train.disabled = True
        self.message.value = "training ..."
        try:
            record = run(self.spec(), self.store)  # not inside the Output widget: that would swallow the error
            if record.id not in {known.id for known in self.records}:
                self.records.append(record)
            self.message.value = f"{len(self.records)} students; the last has record {record.id}"
            self.figure.outputs = ()
            self.figure.append_display_data(lab_of(self.records, name="live"))
        except (ValueError, RuntimeError, OSError) as error:
            self.message.value = str(error)
        finally:
            self.train.disabled = False

    def _ipython_display_(self) -> None:
        display(self.box)


def workbench(profile: str = "digits", store: str | Path = "runs") -> Workbench:
    """A :class:`Workbench` for a profile; students are kept in a store of your own, never among the committed records."""
    return Workbench(profile, store)
