"""The paper's own figures, to set beside ours: Tables 1 and 2 of iEdit (Bodur et al., 2023, Sections 4.3 and 4.4).

All are in percent but for the Fréchet distance, which is FID there: Inception's features, not the judge's. The text of Section
4.3 gives the differences of Table 1 (a) in CLIPScore, 3.78 and 1.24 points, with a percent sign.
"""

from collections.abc import Mapping

Figures = Mapping[str, Mapping[str, float]]
"""System, or row of the ablation → metric → value."""
METRICS = ("clip_score", "fid", "ssim_m_frame", "ssim_m_bar_frame")


def _figures(rows: Mapping[str, tuple[float, float, float, float]]) -> Figures:
    return {name: dict(zip(METRICS, values, strict=True)) for name, values in rows.items()}


TABLE_1 = {
    "generated": _figures(
        {
            "sdedit": (62.58, 171, 82.44, 50.64),
            "instruct_pix2pix": (65.12, 108, 88.62, 76.43),
            "iedit": (65.76, 158, 82.70, 52.02),
            "iedit_m": (66.36, 114, 83.08, 78.18),
        }
    ),
    "real": _figures(
        {
            "sdedit": (65.84, 180, 74.36, 64.60),
            "instruct_pix2pix": (66.91, 145, 80.59, 79.92),
            "iedit": (67.02, 166, 74.59, 70.09),
            "iedit_m": (67.44, 147, 74.98, 80.44),
        }
    ),
}
"""Sources of the cases, (a) generated and (b) real → system → metric → value; without DALL-E 2, which is not compared here."""
TABLE_2 = _figures(
    {
        "web_captions": (65.95, 158, 78.84, 55.14),
        "plain_noise": (65.62, 156, 79.61, 62.08),
        "plain_noise_perceptual": (65.64, 153, 79.75, 62.20),
        "paper": (66.09, 146, 79.31, 59.54),
        "paper_masked": (66.97, 128, 79.65, 77.99),
    }
)
"""Row of Table 2, as it is named here → metric → value."""
