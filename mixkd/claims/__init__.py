"""Each sentence of the abstract as something that could fail: statistic, margin, premises, rivals, rule, two verdicts in each cell.

*As stated*: the sentence against the abstract's own baseline. *Attributed*: does it survive every rival explanation listed? The rules
stand here before the records they judge are trained. Nothing is trained, selected or tuned here; records that are missing are named.
"""

from mixkd.claims.evidence import Claim, Evidence
from mixkd.claims.ledger import CLAIMS, Row, across, elsewhere, evaluate, everywhere, judge, to_frame, to_json, to_text
from mixkd.claims.settings import changes
from mixkd.claims.survey import Model, Reading, Survey, Trade, survey
from mixkd.claims.verdicts import Comparison, Premise, Verdict

__all__ = [
    "CLAIMS", "Claim", "Comparison", "Evidence", "Model", "Premise", "Reading", "Row", "Survey", "Trade", "Verdict",
    "across", "changes", "elsewhere", "evaluate", "everywhere", "judge", "survey", "to_frame", "to_json", "to_text",
]  # fmt: skip
