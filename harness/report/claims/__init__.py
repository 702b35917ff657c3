"""What a paper claims, as data, and what a run says of it: one word each, and never more than the run allows."""

from harness.report.claims.catalogue import Claim, claims_for, read_claims
from harness.report.claims.evidence import ClaimCell, Finding, Word
from harness.report.claims.verdict import verdict, verdicts

__all__ = ["Claim", "ClaimCell", "Finding", "Word", "claims_for", "read_claims", "verdict", "verdicts"]
