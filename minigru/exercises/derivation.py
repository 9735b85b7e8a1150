"""The derivation of a tag as `docs/equations.md` has it, for a terminal."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PLAIN = [  # LaTeX on the left, what a terminal shows on the right
    (r"\$\$\n(.*?)\n\$\$", r"    \1"),
    (r"\$([^$\n]+)\$", r"\1"),
    (r"\^\{\\langle t \\rangle\}", "⟨t⟩"),
    (r"\^\{\\langle t-1 \\rangle\}", "⟨t-1⟩"),
    (r"\\(?:mathrm|text)\{([^{}]*)\}", r"\1"),
    (r"\\tilde\{c\}", "c̃"),
    (r"\\hat\{(\w)\}", r"\1_hat"),
    (r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)"),
    (r"\\frac\{((?:[^{}]|\{[^{}]*\})*)\}\{((?:[^{}]|\{[^{}]*\})*)\}", r"(\1) / (\2)"),
    (r"_\{(\w+)\}", r"_\1"),
    (r"\^\{(\(\w\))\}", r"^\1"),
    (r"\\(?:left|right|big|Big)\b ?|\\[,;]", ""),
    (r"\\qquad|\\quad", "   "),
    (r"\\partial ?", "∂"),
    (r"\\sum", "Σ"),
    (r"\^\\top", "ᵀ"),
    (r"\\le\b", "≤"),
    (r"\\ldots", "…"),
    (r"\\delta", "δ"),
    (r"\\Gamma", "Γ"),
    (r"\\sigma", "σ"),
    (r"\\theta", "θ"),
    (r"\\alpha", "α"),
    (r"\\beta", "β"),
    (r"\\epsilon", "ε"),
    (r"\\cdot", "·"),
    (r"\\(tanh|exp|log|max|diag)", r"\1"),
    (r"\[([^]]*)\]\([^)]*\)", r"\1"),
]


def derivation(name: str) -> str:
    """Return the section of a tag, or where it is if this installation is without the documents."""
    page = "engine.md" if name.startswith("F") else "equations.md"
    try:
        text = (DOCS / page).read_text("utf-8")
    except OSError:
        return f"The derivation is in docs/{page} of minigru's repository, under ({name})."
    found = re.search(rf"^### \({name}\) .*?(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        return ""
    section = found[0].strip()
    for pattern, replacement in PLAIN:
        section = re.sub(pattern, replacement, section, flags=re.DOTALL)
    return section
