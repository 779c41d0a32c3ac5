"""Plain text as HTML: powers, indices, numbers, signs; names and markup left alone."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from analysis.report.typeset import typeset


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("falls as N^-0.4.", "falls as N<sup>−0.4</sup>."),
        ("A x^-b + c", "A x<sup>−b</sup> + c"),
        ("l^-(D+1), N^((d+2)/(d+3))", "l<sup>−(D+1)</sup>, N<sup>(d+2)/(d+3)</sup>"),
        ("alpha^2/h^2 as T_0 -> 0", "α<sup>2</sup>/h<sup>2</sup> as T₀ → 0"),
        ("E‖f_W − f^K‖²", "E‖f<sub>W</sub> − f<sup>K</sup>‖²"),
        ("2N/lambda_max, ‖W(0)‖_F", "2N/λ<sub>max</sub>, ‖W(0)‖<sub>F</sub>"),
        ("R_H^-1", "R<sub>H</sub><sup>−1</sup>"),
        ("5.7e-08", "5.7\xa0×\xa010⁻⁸"),
        ("1e-07, 2e+12", "1\xa0×\xa010⁻⁷, 2\xa0×\xa010¹²"),
        ("-0.8 to 0.7 within 15 %", "−0.8 to 0.7 within 15\xa0%"),
        ("b = -0.8", "b\xa0=\xa0−0.8"),
        ("p < 0.001", "p\xa0&lt;\xa00.001"),
        ("1 - 2, well-known 2-sided", "1 - 2, well-known 2-sided"),
        ("score_error, a_priori, t_minimum", "score_error, a_priori, t_minimum"),
        ("gaussian_mixture[std=0.5]", "gaussian_mixture[std=0.5]"),
        ("metadata, total, eta", "metadata, total, η"),
        ("<b>'x'</b> & y", "&lt;b&gt;&#39;x&#39;&lt;/b&gt; &amp; y"),
        ("run 0xe5 and abc1e5", "run 0xe5 and abc1e5"),
    ],
)
def test_typeset(text: str, html: str) -> None:
    assert str(typeset(text)) == html


def test_markup_is_left_as_it_is() -> None:
    assert str(typeset(Markup("<i>N^-1</i>"))) == "<i>N^-1</i>"
