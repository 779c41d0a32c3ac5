"""The papers behind the theories, as a page links and cites them; docs/theory.md lists them all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper. url: where it can be read. venue: its journal or conference, with volume and pages
    where it has them."""

    authors: tuple[str, ...]
    title: str
    venue: str
    year: int
    url: str

    @property
    def told(self) -> str:
        """`Bach (2017)`, `Caponnetto and De Vito (2007)`, `Zhang et al. (2024)`."""
        names = [name.split(", ")[0] for name in self.authors]
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        return f"{who} ({self.year})"

    def bibtex(self, key: str) -> str:
        """An entry for a bibliography, named key and year."""
        journal = "journal" if any(letter.isdigit() for letter in self.venue) else "booktitle"
        kind = "article" if journal == "journal" else "inproceedings"
        rows = {
            "author": " and ".join(self.authors),
            "title": f"{{{self.title}}}",
            journal: self.venue,
            "year": str(self.year),
            "url": self.url,
        }
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in rows.items())
        return f"@{kind}{{{key}{self.year},\n{body}\n}}"


PAPERS: dict[str, Paper] = {
    "chen": Paper(
        (
            "Chen, Sitan",
            "Chewi, Sinho",
            "Li, Jerry",
            "Li, Yuanzhi",
            "Salim, Adil",
            "Zhang, Anru R.",
        ),
        "Sampling is as easy as learning the score: theory for diffusion models with minimal data "
        "assumptions",
        "International Conference on Learning Representations",
        2023,
        "https://arxiv.org/abs/2209.11215",
    ),
    "hrx": Paper(
        ("Han, Yinbin", "Razaviyayn, Meisam", "Xu, Renyuan"),
        "Neural network-based score estimation in diffusion models: optimization and "
        "generalization",
        "International Conference on Learning Representations",
        2024,
        "https://arxiv.org/abs/2401.15604",
    ),
    "rakhlin": Paper(
        ("Rakhlin, Alexander", "Zhai, Xiyu"),
        "Consistency of interpolation with Laplace kernels is a high-dimensional phenomenon",
        "Conference on Learning Theory",
        2019,
        "https://arxiv.org/abs/1812.11167",
    ),
    "jacot": Paper(
        ("Jacot, Arthur", "Gabriel, Franck", "Hongler, Clément"),
        "Neural tangent kernel: convergence and generalization in neural networks",
        "Advances in Neural Information Processing Systems",
        2018,
        "https://arxiv.org/abs/1806.07572",
    ),
    "bach": Paper(
        ("Bach, Francis",),
        "Breaking the curse of dimensionality with convex neural networks",
        "Journal of Machine Learning Research 18(19), 1-53",
        2017,
        "https://jmlr.org/papers/v18/14-546.html",
    ),
    "caponnetto": Paper(
        ("Caponnetto, Andrea", "De Vito, Ernesto"),
        "Optimal rates for the regularized least-squares algorithm",
        "Foundations of Computational Mathematics 7, 331-368",
        2007,
        "https://doi.org/10.1007/s10208-006-0196-8",
    ),
    "zhang": Paper(
        ("Zhang, Kaihong", "Yin, Caitlyn H.", "Liang, Feng", "Liu, Jingbo"),
        "Minimax optimality of score-based diffusion models: beyond the density lower bound "
        "assumptions",
        "International Conference on Machine Learning",
        2024,
        "https://arxiv.org/abs/2402.15602",
    ),
    "bonnaire": Paper(
        ("Bonnaire, Tony", "Urfin, Raphaël", "Biroli, Giulio", "Mézard, Marc"),
        "Why diffusion models don't memorize: the role of implicit dynamical regularization in "
        "training",
        "Advances in Neural Information Processing Systems",
        2025,
        "https://arxiv.org/abs/2505.17638",
    ),
}
"""By the `paper` of a `Theory`."""
