"""One line for each check of `iadsr doctor`."""

from pipeline.steps.doctor import Checked


def line(checked: Checked) -> str:
    """Verdict, check, what was seen and, where it is not well, the mend."""
    mend = f" -> {checked.mend}" if checked.mend else ""
    return f"{checked.verdict:<4}  {checked.check:<9} {checked.told}{mend}"
