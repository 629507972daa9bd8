"""From an error budget or a size to a spec: `search_spec` chooses bits, folding and intervals layer by layer."""

from lutkan.search.budget import Candidate, SearchResult, figures_bytes, pareto_table, search_spec
from lutkan.search.cost import estimated_ns

__all__ = ["Candidate", "SearchResult", "estimated_ns", "figures_bytes", "pareto_table", "search_spec"]
