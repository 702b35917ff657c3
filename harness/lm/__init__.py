"""Everything that touches token ids: tokenising, the policy, sampling, packing, log-probs."""
