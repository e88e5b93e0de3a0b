"""Each sentence of the abstract as something that could fail: statistic, margin, rivals, decision rule, two verdicts.

*As stated*: the sentence against the abstract's own baseline. *Attributed*: does it survive every rival explanation listed? The rules
stand here before the records they judge are trained. Nothing is trained, selected or tuned here; records that are missing are named.
"""

from mixkd.claims.evidence import Claim, Evidence, paired
from mixkd.claims.ledger import CLAIMS, KEPT, across, evaluate, to_frame, to_json, to_text
from mixkd.claims.overconfidence import overconfidence_floor
from mixkd.claims.settings import changes
from mixkd.claims.verdicts import Comparison, Outcome, Verdict, compare, decide, every

__all__ = [
    "CLAIMS", "KEPT", "Claim", "Comparison", "Evidence", "Outcome", "Verdict", "across", "changes", "compare", "decide", "evaluate",
    "every", "overconfidence_floor", "paired", "to_frame", "to_json", "to_text",
]  # fmt: skip
