"""What a report says of a training."""

from stages.report.story import PANELS, Story


def test_panels_leave_out_terms_that_were_off():
    steps = [dict.fromkeys((name for names in PANELS.values() for name in names), 0.0) for _ in range(2)]
    steps[1] |= {"weighted/perceptual": 0.1, "raw/perceptual": 1.0}
    panels = Story(losses=steps, pairs=[], dropped={}).panels()
    assert panels == {"Losses of Eq 12, weighted": ["weighted/perceptual"], "Losses, raw": ["raw/perceptual"]}
